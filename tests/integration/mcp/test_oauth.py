"""OAuth against a real authorization server, whose refresh tokens are good for one use."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.tools.mcp import services
from apps.tools.mcp.models import Authentication, McpServer, McpToken
from apps.tools.mcp.oauth import Tokens
from apps.tools.mcp.servers import of_row
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from tests.factories import organisation
from tests.integration.mcp.conftest import Story
from tests.mcp_town import CLIENT_SECRET, Authority
from tests.stack import PROJECT_ROOT


@pytest.fixture
def authority(town) -> Authority:
    town.authority.__init__()
    return town.authority


def with_refresh_token(story: Story, refresh: str = "refresh-0") -> McpServer:
    row = story.add(
        "oauth",
        authentication=Authentication.REFRESH_TOKEN,
        token_url=story.town.token_url,
        client_id="somaagent",
        connect_seconds=10.0,
    )
    with tenant_scope(story.actor.tenant_id):
        services.mcp_token_put(server=row, refresh_token=refresh)
    return row


def token_of(story: Story) -> McpToken:
    with tenant_scope(story.actor.tenant_id):
        return McpToken.objects.get()


def test_client_credentials_are_asked_for_once_and_again_when_refused(story: Story, authority):
    row = story.add(
        "oauth",
        authentication=Authentication.CLIENT_CREDENTIALS,
        token_url=story.town.token_url,
        client_id="soma agent",
        scope="tools.read tools.call",
        secret=CLIENT_SECRET,
        connect_seconds=10.0,
    )
    assert story.call("oauth__echo", text="in") == "oauth: in"
    (asked,) = authority.asked
    pair = base64.b64decode(asked.pop("authorization").removeprefix("Basic ")).decode()
    assert pair == f"soma%20agent:{CLIENT_SECRET}"
    assert asked == {
        "grant_type": "client_credentials",
        "scope": "tools.read tools.call",
        "resource": row.url,
    }
    assert story.call("oauth__echo", text="again") == "oauth: again"
    assert len(authority.asked) == 1

    authority.access.clear()
    assert story.call("oauth__echo", text="anew") == "oauth: anew"
    assert len(authority.asked) == 2
    for secret in ("access-", CLIENT_SECRET):
        assert secret not in repr(vars(token_of(story)))


def test_a_refresh_token_that_is_good_for_one_use_is_replaced(story: Story, authority):
    with_refresh_token(story)
    assert story.call("oauth__echo", text="in") == "oauth: in"
    assert authority.asked[0]["client_id"] == "somaagent"
    with tenant_scope(story.actor.tenant_id):
        McpToken.objects.update(expires_at=timezone.now())
    assert story.call("oauth__echo", text="later") == "oauth: later"
    assert [asked["refresh_token"] for asked in authority.asked] == ["refresh-0", "refresh-1"]
    assert authority.misused == 0
    assert token_of(story).version == 3


def test_of_many_processes_that_need_a_token_one_asks_for_it(story: Story, authority):
    row = with_refresh_token(story)
    authority.pause = 1.5
    command = [
        sys.executable, "-m", "tests.integration.mcp.refreshing", str(row.tenant_id), str(row.pk),
    ]  # fmt: skip
    others = [
        subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=os.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for other in others:
        assert _line(other, "ready")
    for other in others:
        other.stdin.write("go\n")
        other.stdin.flush()
    mine = run_coroutine(Tokens(of_row(row)).current()).text
    tokens = {_line(other, "token ").split()[1] for other in others} | {mine}
    for other in others:
        assert other.wait(20) == 0
    assert len(tokens) == 1
    assert len(authority.asked) == 1
    assert authority.misused == 0
    assert token_of(story).refreshing_until is None


def _line(process: subprocess.Popen[str], beginning: str) -> str:
    for line in process.stdout:
        if line.startswith(beginning):
            return line
    raise AssertionError(f"It ended with {process.wait()}.")


def test_who_died_while_refreshing_holds_nobody_up_for_ever(story: Story, authority):
    with_refresh_token(story)
    with tenant_scope(story.actor.tenant_id):
        McpToken.objects.update(refreshing_until=timezone.now() + timedelta(seconds=1))
    assert story.call("oauth__echo", text="in") == "oauth: in"


def test_a_refresh_token_that_is_refused_is_told_and_another_may_be_entered(story: Story, authority):
    row = with_refresh_token(story, "refresh-of-somebody-else")
    assert story.tools() == {}
    token = token_of(story)
    assert (token.error, token.refreshing_until) == ("mcp_token_refused", None)
    with tenant_scope(story.actor.tenant_id):
        services.mcp_token_put(server=row, refresh_token="refresh-0")
        McpServer.objects.update(scope="tools")
    assert story.tools() == {}, "it failed a moment ago"


def test_tokens_of_another_tenant_are_not_seen(story: Story, authority):
    with_refresh_token(story)
    with tenant_scope(organisation("other").tenant.id):
        assert not McpToken.objects.exists()
