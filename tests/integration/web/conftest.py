"""The tests' small site, behind Django's own handler and behind ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from django.core.asgi import get_asgi_application
from django.test import override_settings

from somaagent.tenancy import pool
from somaagent.web import lanes
from tests.integration.web import site
from tests.integration.web.talking import Client

SITE = "tests.integration.web.site"
# It has no static files: looking for the admin's takes longer than a whole story.
NO_FILES = {"SERVESTATIC_USE_FINDERS": False, "SERVESTATIC_USE_STATIC_ROOT": False}


@pytest.fixture(autouse=True)
async def the_site() -> AsyncIterator[None]:
    site.seen.clear()
    site.begun = asyncio.Event()
    with override_settings(ROOT_URLCONF=SITE, ALLOWED_HOSTS=["testserver"], **NO_FILES):
        yield
    await pool.close()


@pytest.fixture(params=["Django's", "ours"])
def client(request: pytest.FixtureRequest, the_site: None) -> Client:
    return Client(get_asgi_application() if request.param == "Django's" else lanes.Gateway())


@pytest.fixture
def ours(the_site: None) -> Client:
    return Client(lanes.Gateway())
