"""Calls of tools as the page shows them, while their turn runs and waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import orjson
import pytest

from apps.chat import approvals, live, shown_calls, transcript, turns
from apps.chat.approvals import Given
from apps.chat.models import Call
from apps.chat.taps import Record
from somaagent.agent.ports import Outcome
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from tests.integration.tools.conftest import calls
from tests.integration.tools.test_approvals import asked

pytestmark = pytest.mark.django_db(transaction=True)

BOTH = calls(("send", {"to": "Ada"}), ("send", {"to": "Bob"}))


def shown(acme, turn) -> list[shown_calls.ShownCall]:
    with tenant_scope(acme.tenant.id):
        return list(transcript.calls(actor=acme.owner, turn_id=turn.id))


def test_every_outcome_has_its_words():
    assert set(shown_calls._ENDED) == set(Outcome)


def test_the_list_of_sessions_tells_where_a_question_waits(acme, post):
    turn = asked(acme, BOTH)
    quiet = asked(acme, "say: hello")

    def asking() -> set[Any]:
        with tenant_scope(acme.tenant.id):
            page = transcript.session_page(actor=acme.owner, archived=False)
        assert {row.id for row in page.items} == {turn.session_id, quiet.session_id}
        return page.asking

    assert asking() == {turn.session_id}
    run_coroutine(turns.cancel(actor=acme.owner, turn_id=turn.id))
    assert asking() == set()


def test_a_long_result_is_cut_off_and_says_how_much_is_missing(acme, post):
    turn = asked(acme, calls(("look", {"to": "Oslo"})))
    with tenant_scope(acme.tenant.id):
        Call.objects.filter(turn=turn).update(result="x" * (shown_calls.MOST_RESULT + 7))
    [call] = shown(acme, turn)
    assert (len(call.result), call.more, call.state) == (shown_calls.MOST_RESULT, 7, "Done")


def test_what_somebody_answered_elsewhere_is_seen_after_a_silence(acme, post):
    """One answer of two makes no event: nobody has the turn."""
    turn = asked(acme, BOTH)
    first, second = shown(acme, turn)
    seen = asyncio.Event()

    async def records() -> AsyncGenerator[Record | None, None]:
        followed = await turns.follow(actor=acme.owner, turn_id=turn.id, after=0)
        async for record in followed:
            yield record
            if record is not None and record.type == "turn.awaiting_approval":
                break
        await followed.aclose()
        await seen.wait()
        await approvals.answer(actor=acme.owner, turn_id=turn.id, given=[Given(second.call_id, False)])
        yield None
        yield None

    async def told() -> list[bytes]:
        sent = []
        async for event in live.stream(acme.owner, turn.id, records()):
            sent.append(event)
            if _calls_in(event):
                seen.set()
        return sent

    sent = [orjson.loads(line[6:]) for event in run_coroutine(told()) for line in _calls_in(event)]
    assert [str(first.id) in told["html"] for told in sent] == [True, False]
    assert "Denied, waits for the others" in sent[1]["html"]


def _calls_in(events: bytes) -> list[bytes]:
    found = [event.split(b"\n") for event in events.split(b"\n\n")]
    return [lines[2] for lines in found if b"event: calls" in lines]
