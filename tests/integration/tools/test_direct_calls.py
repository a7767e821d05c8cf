"""Tools called by a client itself: no turn stands behind the call, and the record tells all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from apps.chat.mcp import calling
from apps.chat.mcp.answers import Answer
from apps.tools.models import ToolCallRecord, ToolDecision
from apps.tools.tool import Arguments, Caller
from somaagent.background import run_coroutine
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import Role
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, person
from tests.integration.tools.conftest import Post

pytestmark = pytest.mark.django_db(transaction=True)


def called(actor: Actor, post: Post, name: str, arguments: Mapping[str, Any]) -> Answer:
    return run_coroutine(calling.call(actor=actor, tool=post.tools()[name], arguments=arguments))


def on_record(acme: Organisation) -> ToolCallRecord:
    """The one call of the organisation."""
    with tenant_scope(acme.tenant.id):
        record = ToolCallRecord.objects.get()
    assert (record.agent, record.session_id, record.turn_id) == ("", None, None)
    return record


def effect_of(acme: Organisation, record: ToolCallRecord) -> str:
    assert record.decision_id is not None
    with tenant_scope(acme.tenant.id):
        return ToolDecision.objects.get(id=record.decision_id).effect


def test_a_call_runs_and_is_on_record(acme, post):
    answer = called(acme.owner, post, "look", {"to": "Oslo"})
    assert (answer.text, answer.failed, post.looked) == ("Oslo is far away", False, 1)
    record = on_record(acme)
    assert (record.outcome, record.user_id, effect_of(acme, record)) == ("ok", acme.owner.user_id, "allow")


def test_what_needs_approval_is_refused_because_nobody_can_be_asked(acme, post):
    answer = called(acme.owner, post, "send", {"to": "Ada"})
    assert answer.failed
    assert "ask an agent that has this tool" in answer.text
    assert post.sent == []
    record = on_record(acme)
    assert (record.outcome, effect_of(acme, record)) == ("refused", "require_approval")


def test_policy_holds_for_who_calls(acme, post):
    viewer = person("viewer", acme.tenant, Role.VIEWER)
    answer = called(viewer, post, "send", {"to": "Ada"})
    assert answer.failed
    assert "viewer" in answer.text
    assert effect_of(acme, on_record(acme)) == "deny"


@pytest.mark.parametrize(
    ("to", "outcome"),
    [("nowhere", "failed"), ("crash", "failed"), ("ever", "timed_out"), ("x" * 41, "refused")],
)
def test_what_goes_wrong_is_said_and_on_record(acme, post, to, outcome):
    answer = called(acme.owner, post, "look", {"to": to})
    assert answer.failed
    assert "sk-secret" not in answer.text
    assert on_record(acme).outcome == outcome


def test_who_goes_away_cuts_the_call_short(acme, post):
    async def leave() -> None:
        begun = asyncio.Event()

        async def wait(caller: Caller, arguments: Arguments) -> str:
            begun.set()
            await asyncio.Event().wait()
            return "never"

        waiting = replace(post.tools()["look"], run=wait)
        call = asyncio.ensure_future(calling.call(actor=acme.owner, tool=waiting, arguments={"to": "Oslo"}))
        await begun.wait()
        call.cancel()
        await asyncio.wait({call})
        assert call.cancelled()

    run_coroutine(leave())
    assert on_record(acme).outcome == "cut_short"
