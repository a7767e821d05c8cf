"""Sign-ins, told by Django's signals, whichever form or library makes them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from somaagent.tenancy.chosen import chosen_of
from somaagent.tenancy.models import User

from .entries import Who
from .people import audit_of_user


@receiver(user_logged_in)
def signed_in(user: User, **_: Any) -> None:
    audit_of_user(user=user, by=Who(user.pk, "browser"), action="user.signed_in")


@receiver(user_logged_out)
def signed_out(user: User | None, request: HttpRequest | None = None, **_: Any) -> None:
    if user is not None:
        chosen = chosen_of(request.session) if request is not None else None
        audit_of_user(user=user, by=Who(user.pk, "browser"), action="user.signed_out", chosen=chosen)


@receiver(user_login_failed)
def sign_in_failed(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Of a name that nobody has nothing is kept but that it happened: people type passwords there."""
    del request
    name = str(credentials.get(User.USERNAME_FIELD, ""))
    user = User.objects.filter(username=name).first() if name and "\x00" not in name else None
    audit_of_user(user=user, by=Who(None, "browser"), action="user.sign_in_failed")
