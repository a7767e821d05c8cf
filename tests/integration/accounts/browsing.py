"""What a browser does at the pages of accounts, without one."""

from __future__ import annotations

import html
import re
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.test import Client

from somaagent.tenancy.actor import Actor
from tests.factories import user_of

PASSWORD = "a-password-of-one's-own"


def browser(actor: Actor | None = None, **facts: Any) -> Client:
    """Somebody's browser, in which the actor is signed in, if one is given."""
    client = Client(headers={"host": settings.ALLOWED_HOSTS[0]}, **facts)
    if actor is not None:
        client.force_login(user_of(actor))
    return client


def text_of(page: Any) -> str:
    """What is to be read on a page, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.content.decode())).split())


def forget_attempts() -> None:
    """Stories come from one address: what failed in others is not counted here."""
    cache.clear()
