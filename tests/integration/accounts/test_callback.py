"""While an identity provider is asked, no transaction of ours is open."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection

from settings.oidc import OidcProvider
from somaagent.embedded.addresses import loopback
from tests.factories import organisation
from tests.integration.accounts.browsing import browser, forget_attempts, text_of
from tests.oidc.provider import keep_secret

pytestmark = pytest.mark.django_db(transaction=True)
_OPEN = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND state LIKE 'idle in transaction%'
"""


class Asked:
    """What was open each time that the provider was asked for a token."""

    def __init__(self) -> None:
        self.open: list[int] = []


@pytest.fixture
def provider() -> Iterator[SimpleNamespace]:
    asked = Asked()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer = f"http://{self.headers['Host']}"
            endpoints = ("authorization", "token", "userinfo")
            found = {f"{name}_endpoint": f"{issuer}/{name}" for name in endpoints}
            self.answer(200, {"issuer": issuer, "jwks_uri": f"{issuer}/keys", **found})

        def do_POST(self) -> None:
            with connection.cursor() as cursor:
                cursor.execute(_OPEN)
                asked.open.append(cursor.fetchone()[0])
            connection.close()
            self.answer(400, {"error": "invalid_grant"})

        def answer(self, status: int, body: object) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Not on the tests' output."""

    server = ThreadingHTTPServer((loopback(), 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(url=f"http://{loopback()}:{server.server_port}", asked=asked)
    server.shutdown()
    server.server_close()


def test_a_provider_is_asked_outside_of_transactions(provider, stack, settings):
    keep_secret(stack, "slow", "between-us-and-them")
    forget_attempts()
    home = organisation("home")
    declared = OidcProvider(
        slug="slow",
        name="Slow",
        issuer=provider.url,
        client_id="us",
        tenant=home.tenant.slug,
        role="member",
        client_auth="client_secret_post",
    )
    settings.OIDC_PROVIDERS = [declared]
    theirs = browser()
    going = theirs.post("/sign-in/with/slow/").content.decode()
    address = re.search(r'url=(http[^"]+)"', going)
    assert address is not None
    [state] = parse_qs(urlsplit(address[1].replace("&amp;", "&")).query)["state"]
    back = theirs.get("/sign-in/with/slow/back/", {"code": "made-up", "state": state})
    assert back.status_code == 502
    assert "Signing in with Slow failed" in text_of(back)
    assert provider.asked.open == [0]
