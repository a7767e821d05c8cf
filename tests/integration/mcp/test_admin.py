"""The operator's form and list of MCP servers: secrets go in and never come out."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.forms import model_to_dict
from django.test import Client
from django.urls import reverse

from apps.tools.mcp import keys
from apps.tools.mcp.models import Authentication, McpServer, McpToken
from somaagent.tenancy.scope import tenant_scope
from tests.factories import operator_client
from tests.integration.mcp.conftest import Story
from tests.mcp_town import KEY


@pytest.fixture
def operator(story: Story) -> Client:
    return operator_client(story.actor)


def saved(operator: Client, row: McpServer, **facts: Any) -> str:
    """The page that came back, or nothing when the form was taken."""
    shown = {name: value for name, value in model_to_dict(row).items() if value not in (None, False)}
    answer = operator.post(reverse("admin:tools_mcpserver_change", args=[row.pk]), shown | facts)
    return answer.content.decode() if answer.status_code == 200 else ""


def again(row: McpServer) -> McpServer:
    with tenant_scope(row.tenant_id):
        return McpServer.objects.get(pk=row.pk)


def opened(row: McpServer) -> str:
    return keys.opened(
        row.encrypted_secret, tenant_id=row.tenant_id, purpose=keys.SERVER_SECRET, row_id=row.pk
    )


def test_a_server_is_added_asked_and_shown(operator: Client, story: Story):
    form = model_to_dict(McpServer(tenant_id=story.actor.tenant_id))
    facts = {
        "slug": "keyed",
        "name": "Keyed",
        "url": story.town.url("keyed"),
        "authentication": Authentication.KEY,
        "own_secret": KEY,
    }
    wanted = {name: value for name, value in form.items() if value not in (None, False)} | facts
    answer = operator.post(reverse("admin:tools_mcpserver_add"), wanted)
    assert answer.status_code == 302, answer.content.decode()
    with tenant_scope(story.actor.tenant_id):
        row = McpServer.objects.get(slug="keyed")
    assert opened(row) == KEY

    listed = reverse("admin:tools_mcpserver_changelist")
    assert "not asked yet" in operator.get(listed).content.decode()
    answer = operator.post(listed, {"action": "read_tools", "_selected_action": [str(row.pk)]})
    assert [str(each) for each in get_messages(answer.wsgi_request)] == ["Keyed: 5 tools."]
    assert ">well<" in "".join(operator.get(listed).content.decode().split())

    page = operator.get(reverse("admin:tools_mcpserver_change", args=[row.pk])).content.decode()
    assert "keyed__echo" in page
    assert "One is set" in page
    for secret in (KEY, row.encrypted_secret):
        assert secret not in page


def test_what_cannot_be_is_refused_at_its_field(operator: Client, story: Story):
    row = story.add("well-1")
    for facts, said in (
        ({"url": "http://10.0.0.1/mcp"}, "does not lead to a public address"),
        ({"url": "file:///etc/passwd"}, "Write a whole URL"),
        ({"slug": "two__words"}, "Small letters, digits and hyphens"),
        ({"authentication": "client_credentials"}, "OAuth needs the token URL"),
        ({"refresh_token": "a-refresh-token"}, "Only OAuth with a refresh token has one"),
        ({"own_secret": KEY, "secret_name": "mcp/github"}, "It has a secret of its own"),
        ({"own_secret": KEY, "remove_own_secret": "on"}, "Either type one or remove"),
        ({"secret_name": "models/openai"}, "Write it as mcp/"),
    ):
        assert said in saved(operator, row, **facts), facts
    assert again(row).encrypted_secret == ""


def test_a_server_that_fails_says_why_in_the_admin(operator: Client, story: Story):
    row = story.add("fails")
    listed = reverse("admin:tools_mcpserver_changelist")
    answer = operator.post(listed, {"action": "read_tools", "_selected_action": [str(row.pk)]})
    (message,) = [str(each) for each in get_messages(answer.wsgi_request)]
    assert message == "fails: The MCP server fails answers with status 500."
    assert "mcp_failed" in operator.get(listed).content.decode()
    page = operator.get(reverse("admin:tools_mcpserver_change", args=[row.pk])).content.decode()
    assert "answers with status 500" in page


def test_refresh_tokens_are_kept_apart_and_another_access_begins_anew(operator: Client, story: Story):
    row = story.add("well-1")
    oauth = {
        "authentication": "refresh_token",
        "token_url": story.town.token_url,
        "client_id": "somaagent",
    }
    assert saved(operator, row, **oauth, refresh_token="a-refresh-token") == ""
    with tenant_scope(row.tenant_id):
        token = McpToken.objects.get()
        McpToken.objects.update(encrypted_access="soma1.x.y")
    assert "a-refresh-token" not in token.encrypted_refresh

    row = again(row)
    assert saved(operator, row, name="Renamed") == ""
    with tenant_scope(row.tenant_id):
        assert McpToken.objects.get().encrypted_access, "what has nothing to do with it leaves it"
    assert saved(operator, again(row), client_id="another") == ""
    with tenant_scope(row.tenant_id):
        after = McpToken.objects.get()
    assert (after.encrypted_access, after.encrypted_refresh) == ("", token.encrypted_refresh)
    assert after.version > token.version
