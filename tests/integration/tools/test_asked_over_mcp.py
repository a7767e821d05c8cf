"""An agent that a client asked over MCP, and that asks in its turn."""

from __future__ import annotations

import asyncio

import pytest

from apps.chat.approvals import Given
from apps.chat.mcp import asking
from apps.chat.mcp.answers import Answer
from apps.chat.models import Turn, TurnState
from apps.chat.taps import HEARTBEAT_SECONDS
from apps.chat.work import lease_end
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation
from tests.integration.tools.conftest import calls
from tests.integration.tools.hosted import answered, now, question
from tests.integration.tools.test_approvals import asked

pytestmark = pytest.mark.django_db(transaction=True)


def followed(acme: Organisation, turn: Turn) -> Answer:
    async def told(progress: int, text: str) -> None:
        del progress, text

    async def follow() -> Answer:
        # Not at the next heartbeat, which would find out as well.
        async with asyncio.timeout(HEARTBEAT_SECONDS / 2):
            return await asking.follow(actor=acme.owner, turn=turn, told=told)

    return run_coroutine(follow())


def test_a_question_is_passed_on_though_its_host_has_not_let_the_turn_go_yet(acme, post):
    """The event comes a moment before the row says the same."""
    turn = asked(acme, calls(("send", {"to": "Ada"})))
    with tenant_scope(acme.tenant.id):
        Turn.objects.filter(id=turn.id).update(
            state=TurnState.RUNNING, lease_owner="its host", lease_expires_at=lease_end()
        )
    facts = followed(acme, now(acme, turn)).structured
    assert facts is not None
    assert facts["state"] == "awaiting_approval"
    assert [wanted["tool"] for wanted in facts["approvals"]] == ["send"]
    assert facts["expires_at"]


def test_a_question_that_was_answered_is_not_passed_on_again(acme, post):
    turn = asked(acme, calls(("send", {"to": "Ada"})) + "\nthen say: Sent.")
    ended = answered(acme, turn, Given(question(acme, turn).call_id, True))
    assert ended.state == "completed"
    facts = followed(acme, ended).structured
    assert facts is not None
    assert facts["state"] == "completed"
