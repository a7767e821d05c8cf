"""Every operation with an id, asked by somebody of another tenant for what exists: to them it does not.

An operation that is added has to say here whose object its ids name: until then the walk fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connection
from psycopg.sql import SQL, Identifier

from somaagent.api import api, openai_api
from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.models import Scope
from somaagent.tenancy.scope import tenant_scope
from tests.factories import key_of
from tests.integration.tenancy.rows import owned_models
from tests.integration.tenancy.town import Program, Town, leave, town

pytestmark = pytest.mark.django_db(transaction=True)

_PLACE = re.compile(r"{([\w ]+)}")
_NAMED = {"agent", "model profile", "another agent", "own model profile"}


@dataclass(frozen=True)
class Case:
    """What the ids in an operation's path name, and a body that it would take."""

    ids: Mapping[str, str]
    body: Any = None


def case(body: Any = None, **ids: str) -> Case:
    return Case(ids, body)


ANSWER = {"calls": [{"call_id": "call-1", "decision": "approve"}]}
CASES: dict[str, Case] = {
    "GET /api/v1/agents/{slug}": case(slug="agent"),
    "PATCH /api/v1/agents/{slug}": case({"name": "Taken"}, slug="agent"),
    "DELETE /api/v1/agents/{slug}": case(slug="another agent"),
    "GET /api/v1/model-profiles/{slug}": case(slug="model profile"),
    "PATCH /api/v1/model-profiles/{slug}": case({"name": "Taken"}, slug="own model profile"),
    "DELETE /api/v1/model-profiles/{slug}": case(slug="own model profile"),
    "GET /api/v1/sessions/{session_id}": case(session_id="session"),
    "PATCH /api/v1/sessions/{session_id}": case({"title": "Taken"}, session_id="session"),
    "DELETE /api/v1/sessions/{session_id}": case(session_id="session"),
    "GET /api/v1/sessions/{session_id}/messages": case(session_id="session"),
    "GET /api/v1/turns/{turn_id}": case(turn_id="turn"),
    "POST /api/v1/turns/{turn_id}/cancel": case(turn_id="running turn"),
    "POST /api/v1/turns/{turn_id}/retry": case(turn_id="turn"),
    "GET /api/v1/turns/{turn_id}/events": case(turn_id="turn"),
    "GET /api/v1/turns/{turn_id}/approvals": case(turn_id="turn"),
    "POST /api/v1/turns/{turn_id}/approvals": case(ANSWER, turn_id="running turn"),
    "GET /api/v1/webhooks/{webhook_id}": case(webhook_id="webhook"),
    "PATCH /api/v1/webhooks/{webhook_id}": case({"enabled": False}, webhook_id="webhook"),
    "DELETE /api/v1/webhooks/{webhook_id}": case(webhook_id="webhook"),
    "POST /api/v1/webhooks/{webhook_id}/rotate-secret": case(webhook_id="webhook"),
    "POST /api/v1/webhooks/{webhook_id}/test": case(webhook_id="webhook"),
    "GET /api/v1/webhooks/{webhook_id}/deliveries": case(webhook_id="webhook"),
    "POST /api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver": case(
        webhook_id="webhook", delivery_id="delivery"
    ),
    "GET /api/v1/schedules/{schedule_id}": case(schedule_id="schedule"),
    "PATCH /api/v1/schedules/{schedule_id}": case({"enabled": True}, schedule_id="schedule"),
    "DELETE /api/v1/schedules/{schedule_id}": case(schedule_id="schedule"),
    "GET /api/v1/schedules/{schedule_id}/runs": case(schedule_id="schedule"),
    "POST /api/v1/schedules/{schedule_id}/runs": case(schedule_id="schedule"),
    "GET /api/v1/api-keys/{key_id}": case(key_id="API key"),
    "DELETE /api/v1/api-keys/{key_id}": case(key_id="API key"),
    "GET /api/v1/members/{member_id}": case(member_id="member"),
    "PATCH /api/v1/members/{member_id}": case({"role": "viewer"}, member_id="member"),
    "DELETE /api/v1/members/{member_id}": case(member_id="member"),
    "GET /api/v1/invitations/{invitation_id}": case(invitation_id="invitation"),
    "DELETE /api/v1/invitations/{invitation_id}": case(invitation_id="invitation"),
    "GET /api/v1/admin/turns/{turn_id}": case(turn_id="turn"),
    "POST /api/v1/admin/turns/{turn_id}/cancel": case(turn_id="running turn"),
    "POST /api/v1/admin/turns/{turn_id}/retry": case(turn_id="turn"),
    "POST /api/v1/admin/turns/{turn_id}/hand-over": case(turn_id="running turn"),
    "GET /api/v1/admin/tool-calls/{record_id}": case(record_id="call of a tool"),
    "GET /api/v1/admin/mcp-servers/{server_id}": case(server_id="MCP server"),
    "POST /api/v1/admin/mcp-servers/{server_id}/check": case(server_id="MCP server"),
    "GET /api/v1/admin/budgets/{budget_id}": case(budget_id="budget"),
    "PATCH /api/v1/admin/budgets/{budget_id}": case({"amount": "1"}, budget_id="budget"),
    "DELETE /api/v1/admin/budgets/{budget_id}": case(budget_id="budget"),
    "GET /v1/models/{name}": case(name="agent"),
    "GET /v1/responses/{response_id}": case(response_id="response"),
    "DELETE /v1/responses/{response_id}": case(response_id="response"),
    "POST /v1/responses/{response_id}/cancel": case(response_id="response"),
    "GET /v1/responses/{response_id}/input_items": case(response_id="response"),
    "GET /v1/conversations/{conversation_id}": case(conversation_id="conversation"),
    "DELETE /v1/conversations/{conversation_id}": case(conversation_id="conversation"),
    "GET /v1/conversations/{conversation_id}/items": case(conversation_id="conversation"),
}
# Of operators of the platform: others are refused, whether it is there or not.
OPERATORS: dict[str, Case] = {
    "GET /api/v1/admin/tenants/{tenant_id}": case(tenant_id="tenant"),
    "PATCH /api/v1/admin/tenants/{tenant_id}": case({"name": "Taken"}, tenant_id="tenant"),
    "POST /api/v1/admin/tenants/{tenant_id}/suspend": case(tenant_id="tenant"),
    "POST /api/v1/admin/tenants/{tenant_id}/resume": case(tenant_id="tenant"),
    "POST /api/v1/admin/tenants/{tenant_id}/owner-invitations": case({}, tenant_id="tenant"),
    "GET /api/v1/admin/users/{user_id}": case(user_id="user"),
    "POST /api/v1/admin/users/{user_id}/suspend": case(user_id="user"),
    "POST /api/v1/admin/users/{user_id}/resume": case(user_id="user"),
    "POST /api/v1/admin/users/{user_id}/end-sessions": case(user_id="user"),
    "POST /api/v1/admin/users/{user_id}/one-time-password": case(user_id="user"),
}
# Ids in a body or a query: the object is named there, and no operation is about it alone.
ELSEWHERE: dict[str, tuple[str, str, Any]] = {
    "a turn in a session": ("POST", "/api/v1/turns", {"input": "hi", "session_id": "{session}"}),
    "turns of a session": ("GET", "/api/v1/turns?session_id={session}", None),
    "a response after one": (
        "POST", "/v1/responses", {"model": "assistant", "input": "hi", "previous_response_id": "{response}"},
    ),
    "a response in a conversation": (
        "POST", "/v1/responses", {"model": "assistant", "input": "hi", "conversation": "{conversation}"},
    ),
    "a schedule for an agent": (
        "POST", "/api/v1/schedules",
        {"prompt": "hi", "cron": "0 7 * * *", "time_zone": "Europe/Paris", "agent": "{agent}"},
    ),
    "an agent with a model profile": (
        "POST", "/api/v1/agents", {"slug": "thief", "name": "Thief", "model_profile": "{model profile}"},
    ),
    "a model profile that falls back to one": (
        "POST", "/api/v1/model-profiles",
        {"slug": "thief", "name": "Thief", "base_url": "https://model.example.org/v1", "model": "large",
         "fallback": "{model profile}"},
    ),
    "a session with an agent": ("POST", "/api/v1/sessions", {"agent": "{agent}"}),
    "a completion by an agent": (
        "POST", "/v1/chat/completions",
        {"model": "{agent}", "messages": [{"role": "user", "content": "hi"}]},
    ),
}  # fmt: skip


def operations() -> list[str]:
    """Those of both documents that have an id in their path."""
    found = []
    for document in (api.get_openapi_schema(), openai_api.get_openapi_schema()):
        for path, methods in document["paths"].items():
            found += [f"{method.upper()} {path}" for method in methods if "{" in path]
    return found


@dataclass
class Asked:
    """An answer without what is always another: its request id, and the ids that were asked for."""

    status: int
    type: str
    body: Any
    raw: str = field(compare=False)


@pytest.fixture
def here() -> Iterator[Town]:
    made = town()
    yield made
    leave(made)


def all_rows(of: Town) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the first organisation."""
    kept = {}
    with tenant_scope(of.acme.tenant.id), connection.cursor() as cursor:
        for model in owned_models():
            table = model._meta.db_table
            cursor.execute(SQL("SELECT t::text FROM {} t ORDER BY id").format(Identifier(table)))
            kept[table] = cursor.fetchall()
    return kept


def told(answer: Any, *ids: str) -> Asked:
    body = json.loads(answer.content)
    body.pop("request_id", None)
    text = json.dumps(body, sort_keys=True)
    for each in ids:
        text = text.replace(each, "ID")
    return Asked(answer.status_code, answer["Content-Type"], text, answer.content.decode())


def never_made(kind: str) -> str:
    """An id of the form that this kind has, of nothing."""
    if kind in _NAMED:
        return "never-here"
    new = uuid7()
    return {"response": f"resp_{new.hex}", "conversation": f"conv_{new.hex}"}.get(kind, str(new))


def filled(text: str, ids: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda place: ids[place[1]], text)


def known(operation: str) -> Case:
    assert operation in CASES, f"Say in CASES which object the ids of “{operation}” name."
    return CASES[operation]


def test_every_case_is_of_an_operation():
    assert set(CASES) | set(OPERATORS) <= set(operations())


@pytest.mark.parametrize("operation", [each for each in operations() if each not in OPERATORS])
def test_an_outsider_finds_nothing_and_changes_nothing(operation, here):
    method, path = operation.split(" ")
    wanted = known(operation)
    theirs = {name: here.ids[kind] for name, kind in wanted.ids.items()}
    nobody_s = {name: never_made(kind) for name, kind in wanted.ids.items()}
    before = all_rows(here)
    got, missing = (
        told(here.outsider.call(method, filled(path, ids), wanted.body), *ids.values())
        for ids in (theirs, nobody_s)
    )
    assert got.status == 404, got.raw
    assert got == missing
    assert all_rows(here) == before
    if method != "POST":
        # It was there to be found. (What a POST is about, the others are about too.)
        found = here.member.call(method, filled(path, theirs), wanted.body)
        assert found.status_code in {200, 204}, found.content


@pytest.mark.parametrize("operation", OPERATORS)
def test_who_is_no_operator_learns_nothing_and_changes_nothing(operation, here):
    """Neither an owner elsewhere, whose key has every scope, nor the organisation's own."""
    method, path = operation.split(" ")
    wanted = OPERATORS[operation]
    theirs = {name: here.ids[kind] for name, kind in wanted.ids.items()}
    nobody_s = {name: never_made(kind) for name, kind in wanted.ids.items()}
    everything = list(Scope)
    for somebody in (here.other.owner, here.acme.owner):
        program = Program(key_of(somebody, scopes=everything))
        program.call("GET", "/api/v1/members")  # when the key was used is noted once a minute
        before = all_rows(here)
        got, missing = (
            told(program.call(method, filled(path, ids), wanted.body), *ids.values())
            for ids in (theirs, nobody_s)
        )
        assert (got.status, json.loads(got.body)["code"]) == (403, "operator_only")
        assert got == missing
        assert all_rows(here) == before
    missing = here.operator.call(method, filled(path, nobody_s), wanted.body)
    assert missing.status_code == 404, missing.content
    if method == "GET":
        assert here.operator.call(method, filled(path, theirs)).status_code == 200


@pytest.mark.parametrize("named", ELSEWHERE)
def test_nor_by_an_id_that_stands_elsewhere(named, here):
    method, path, body = ELSEWHERE[named]
    before = all_rows(here)

    def asked(ids: Mapping[str, str]) -> Asked:
        given = None if body is None else json.loads(filled(json.dumps(body), ids))
        return told(here.outsider.call(method, filled(path, ids), given), *ids.values())

    got = asked(here.ids)
    assert got == asked({kind: never_made(kind) for kind in here.ids})
    # A list of what follows nothing is empty; a body that names nothing is at fault.
    assert got.status in ({200} if method == "GET" else {404, 422}), got.raw
    assert all_rows(here) == before
