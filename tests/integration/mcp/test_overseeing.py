"""Owners and admins look after their MCP servers over the API."""

from __future__ import annotations

from typing import Any

import pytest

from apps.tools.mcp.models import McpServer
from settings.stdio import StdioServer
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.models import Role
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, key_of, person
from tests.integration.mcp.conftest import Story
from tests.integration.tenancy.town import Program

SERVERS = "/api/v1/admin/mcp-servers"


@pytest.fixture
def admin(acme: Organisation) -> Program:
    return Program(key_of(person("grace", acme.tenant, Role.ADMIN)))


def told(by: Program, path: str) -> Any:
    answer = by.call("GET", path)
    assert answer.status_code == 200, answer.content
    return answer.json()


def refused(by: Program, method: str, path: str, status: int) -> str:
    answer = by.call(method, path)
    assert answer.status_code == status, answer.content
    return answer.json()["code"]


def test_servers_are_read_with_their_state_and_their_tools(acme, admin, story: Story):
    well, fails = story.add("well-1", name="The well"), story.add("fails", name="The broken one")
    off = story.add("hangs", enabled=False)
    story.tools()
    story.lists_are_read()
    listed = {server["id"]: server for server in told(admin, SERVERS)["items"]}
    assert set(listed) == {str(well.id), str(fails.id), str(off.id)}
    assert (listed[str(well.id)]["state"], listed[str(well.id)]["breaker"]) == ("well", "closed")
    assert listed[str(well.id)]["tools"] > 0
    assert listed[str(fails.id)]["error"]["code"] == "mcp_failed"
    assert (listed[str(off.id)]["state"], listed[str(off.id)]["enabled"]) == ("disabled", False)

    whole = told(admin, f"{SERVERS}/{well.id}")
    assert "well-1__echo" in [tool["name"] for tool in whole["listed"]]
    assert whole["token"] is None
    assert refused(admin, "GET", f"{SERVERS}/nothing", 404) == "not_found"


def test_a_server_is_looked_at_now(acme, admin, story: Story):
    well, fails = story.add("well-1"), story.add("fails")
    assert told(admin, f"{SERVERS}/{well.id}")["state"] == "not asked yet"
    looked = admin.call("POST", f"{SERVERS}/{well.id}/check")
    assert (looked.status_code, looked.json()["state"]) == (200, "well"), looked.content
    assert looked.json()["error"] is None
    looked = admin.call("POST", f"{SERVERS}/{fails.id}/check")
    assert (looked.status_code, looked.json()["state"]) == (200, "mcp_failed"), looked.content
    assert looked.json()["error"]["message"].startswith("The MCP server fails answers")
    with tenant_scope(acme.tenant.id):
        entries = AuditEntry.objects.filter(action="mcp_server.checked").order_by("number")
        assert [entry.facts["error"] for entry in entries] == ["", "mcp_failed"]
        McpServer.objects.filter(id=fails.id).delete()
    assert refused(admin, "POST", f"{SERVERS}/{fails.id}/check", 404) == "not_found"


def test_programs_of_the_operators_come_last(acme, admin, story: Story, settings):
    story.add("files")
    settings.MCP_STDIO_SERVERS = [
        StdioServer("files", ("true",)),
        StdioServer("notes", ("true",), tenants=(acme.tenant.slug,)),
        StdioServer("others", ("true",), tenants=("another",)),
    ]
    items = told(admin, SERVERS)["items"]
    assert [(each["slug"], each["kind"]) for each in items] == [("files", "http"), ("notes", "program")]
    assert told(admin, f"{SERVERS}/stdio:notes")["url"] is None
    assert refused(admin, "GET", f"{SERVERS}/stdio:others", 404) == "not_found"


def test_members_look_after_none(acme, story: Story):
    server = story.add("well-1")
    member = Program(key_of(person("bob", acme.tenant)))
    for path in (SERVERS, f"{SERVERS}/{server.id}"):
        assert refused(member, "GET", path, 403) == "role_forbidden"
    assert refused(member, "POST", f"{SERVERS}/{server.id}/check", 403) == "role_forbidden"
