"""Turns that pause, are taken up or are stopped in an awkward moment."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from apps.chat import approvals, host, hosting, runner, statements, stepping, stream, tasks, turns
from apps.chat.approvals import Given
from apps.chat.models import OnBusy, Turn, TurnState
from apps.chat.taps import Record
from apps.chat.work import Work
from somaagent.agent.events import TurnCancelled, decode_end
from somaagent.background import run_coroutine
from somaagent.tenancy.ledger.models import UsageRecord
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import Script, Statement, performed
from tests.factories import Organisation, submitted, taken
from tests.integration.tools.conftest import Post, calls
from tests.integration.tools.hosted import answered, hosted, now, question

pytestmark = pytest.mark.django_db(transaction=True)

SEND = ("send", {"to": "Ada"})
LOOK = ("look", {"to": "Oslo"})


def asked(acme: Organisation, text: str) -> Turn:
    """A turn that a worker had, as it left it."""
    with tenant_scope(acme.tenant.id):
        turn = submitted(acme.owner, text).turn
    return hosted(acme, turn)


def newest(turn: Turn) -> Record:
    last = run_coroutine(stream.last(turn.id))
    assert last is not None
    return last


def read(acme: Organisation, turn: Turn, after: int) -> list[Record]:
    async def collected() -> list[Record]:
        events = await turns.follow(actor=acme.owner, turn_id=turn.id, after=after)
        return [record async for record in events if record is not None]

    return run_coroutine(collected())


def used_by(row: Turn | UsageRecord) -> tuple[int, int]:
    return row.input_tokens, row.output_tokens


def ledger(acme: Organisation, turn: Turn) -> list[UsageRecord]:
    with tenant_scope(acme.tenant.id):
        return list(UsageRecord.objects.filter(run_id=turn.id).order_by("step"))


def test_a_turn_whose_events_expired_while_it_waited_counts_on(acme, post: Post):
    turn = asked(acme, calls(SEND) + "\nthen say: the answer")
    cursor = newest(turn).sequence
    run_coroutine(stream.delete(turn.id))  # as a day later
    done = answered(acme, turn, Given(question(acme, turn).call_id, approve=False))
    rest = read(acme, turn, cursor)
    assert [record.sequence for record in rest] == list(range(cursor + 1, done.last_event + 1))
    assert rest[0].type == "turn.started"
    assert rest[-1].values()["text"] == "the answer"
    assert [record.type for record in read(acme, turn, 0)][:2] == [turns.TRIMMED, "turn.started"]


def test_a_reader_hears_that_a_turn_was_cancelled_whose_events_had_expired(acme, post: Post):
    turn = asked(acme, calls(SEND))
    cursor = newest(turn).sequence
    run_coroutine(stream.delete(turn.id))
    run_coroutine(turns.cancel(actor=acme.owner, turn_id=turn.id))
    (last,) = read(acme, turn, cursor)
    assert (last.sequence, last.type) == (now(acme, turn).last_event, "turn.cancelled")


def test_a_reader_of_events_that_valkey_lost_is_told_how_the_turn_ended(acme, post: Post):
    """They were numbered anew from 1, and the reader has seen more than there are."""
    turn = asked(acme, "say: a short one")
    cursor = newest(turn).sequence + 30
    trimmed, last = read(acme, turn, cursor)
    assert (trimmed.type, last.type) == (turns.TRIMMED, "turn.completed")
    assert cursor < trimmed.sequence < last.sequence
    assert read(acme, turn, newest(turn).sequence) == []


def test_who_follows_a_turn_meanwhile_is_told_too(acme, post: Post):
    turn = asked(acme, calls(SEND) + "\nthen say: the answer")
    call = question(acme, turn)

    async def story() -> list[str]:
        async def follow() -> list[str]:
            events = await turns.follow(actor=acme.owner, turn_id=turn.id, after=40)
            return [record.type async for record in events if record is not None]

        following = asyncio.create_task(follow())
        given = [Given(call.call_id, approve=False)]
        await approvals.answer(actor=acme.owner, turn_id=turn.id, given=given)
        await host.idle()
        async with asyncio.timeout(10):
            while not following.done():
                stream.nudge(turn.id)  # as a heartbeat does
                await asyncio.wait({following}, timeout=0.1)
        return following.result()

    assert run_coroutine(story()) == [turns.TRIMMED, "turn.completed"]


class Pausing(threading.Thread):
    """A host that pauses its turn, and takes its time between looking and writing."""

    def __init__(self, acme: Organisation, work: Work) -> None:
        super().__init__()
        self.acme, self.work = acme, work
        self.looked, self.go_on = threading.Event(), threading.Event()

    def run(self) -> None:
        with tenant_scope(self.acme.tenant.id):
            performed(self._script())
        connection.close()

    def _script(self) -> Script[None]:
        pausing = stepping.turn_pause(work=self.work, last_event=4)
        rows = yield next(pausing)
        self.looked.set()
        self.go_on.wait(10)
        try:
            rows = yield pausing.send(rows)
            pausing.send(rows)
        except StopIteration:
            pass


def pausing(acme: Organisation, turn: Turn) -> Pausing:
    """The turn again in the hands of a host, which is about to pause it."""
    with tenant_scope(acme.tenant.id):
        Turn.objects.filter(id=turn.id).update(state=TurnState.QUEUED)
        work = taken(turn, "slow")
    thread = Pausing(acme, work)
    thread.start()
    assert thread.looked.wait(10)
    threading.Timer(0.3, thread.go_on.set).start()
    return thread


def test_a_turn_that_is_cancelled_while_it_is_being_paused_is_cancelled(acme, post: Post):
    turn = asked(acme, calls(SEND) + "\nthen say: the answer")
    thread = pausing(acme, turn)
    cancelled = run_coroutine(turns.cancel(actor=acme.owner, turn_id=turn.id))
    thread.join()
    assert cancelled.state == now(acme, turn).state == TurnState.CANCELLED
    assert post.sent == []


def test_a_turn_that_is_interrupted_while_it_is_being_paused_is_cancelled(acme, post: Post):
    turn = asked(acme, calls(SEND) + "\nthen say: the answer")
    thread = pausing(acme, turn)

    async def interrupt() -> Turn:
        instead = await turns.submit(
            actor=acme.owner, text="say: instead", session_id=turn.session_id, on_busy=OnBusy.INTERRUPT
        )
        await host.idle()
        return instead

    instead = run_coroutine(interrupt())
    thread.join()
    assert now(acme, turn).state == TurnState.CANCELLED
    assert now(acme, instead).state == TurnState.COMPLETED


def test_a_turn_that_was_asked_to_stop_is_not_given_back(acme, post: Post):
    with tenant_scope(acme.tenant.id):
        turn = submitted(acme.owner, calls(LOOK)).turn
        work = taken(turn, "a host that stops")
    run_coroutine(turns.cancel(actor=acme.owner, turn_id=turn.id))
    with tenant_scope(acme.tenant.id):
        assert hosting.turn_give_back(work=work) is TurnState.CANCELLED
    assert now(acme, turn).state == TurnState.RUNNING


def test_a_host_that_stops_ends_a_turn_whose_cancellation_it_did_not_hear_of(acme, post: Post):
    with tenant_scope(acme.tenant.id):
        turn = submitted(acme.owner, "hang after 2").turn
    tasks.turn_run(str(turn.id), str(acme.tenant.id))

    async def written() -> None:
        async with aclosing(await turns.follow(actor=acme.owner, turn_id=turn.id, after=0)) as events:
            async for event in events:
                if event is not None and event.type == "text.delta":
                    return

    run_coroutine(written())
    with tenant_scope(acme.tenant.id):
        Turn.objects.filter(id=turn.id).update(cancel_requested_at=timezone.now())
    run_coroutine(host.drain(0))
    ended = now(acme, turn)
    assert (ended.state, ended.output_tokens > 0) == (TurnState.CANCELLED, True)
    assert newest(turn).type == "turn.cancelled"


def test_a_step_that_is_taken_up_and_then_cancelled_counts(acme, post: Post):
    turn = asked(acme, calls(LOOK) + "\nthen " + calls(SEND) + "\nthen say: done")
    paused = used_by(turn)
    first, second = ledger(acme, turn)
    assert paused == tuple(map(sum, zip(used_by(first), used_by(second), strict=True)))
    with tenant_scope(acme.tenant.id):
        Turn.objects.filter(id=turn.id).update(state=TurnState.QUEUED)
        work = taken(turn, "its heir")
    # Whom it calls is nobody's name: its heir finds it in the row.
    run_coroutine(turns.cancel(actor=acme.owner, turn_id=turn.id))
    run_coroutine(runner.run_work(work))
    ended = now(acme, turn)
    assert (ended.state, used_by(ended), post.sent) == (TurnState.CANCELLED, paused, [])
    last = newest(turn)
    assert decode_end(last.type, last.values()) == TurnCancelled(ended.usage)


def test_what_a_step_read_that_was_cut_short_is_guessed_with_its_turns_own_steps(acme, post: Post):
    """The result of its first call has 2,000 characters."""

    async def stopped() -> Turn:
        text = calls(("look", {"to": "much"})) + "\nthen hang after 5"
        turn = await turns.submit(actor=acme.owner, text=text)
        async with aclosing(await turns.follow(actor=acme.owner, turn_id=turn.id, after=0)) as events:
            async for event in events:
                if event is not None and event.type == "text.delta":
                    await turns.cancel(actor=acme.owner, turn_id=turn.id)
        await host.idle()
        return turn

    turn = run_coroutine(stopped())
    first, second = ledger(acme, turn)
    assert (first.estimated, second.estimated) == (False, True)
    assert second.input_tokens > first.input_tokens + 400


def test_a_process_that_lost_a_turn_and_took_it_again_keeps_nothing_of_before(acme, post: Post):
    with tenant_scope(acme.tenant.id):
        turn = submitted(acme.owner, "say: hi").turn
        before = taken(turn, "a worker")
        Turn.objects.filter(id=turn.id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        assert hosting.turns_sweep().waiting == [turn.id]
        again = taken(turn, "a worker")
        held = performed(hosting.turns_renew(works=[before])), performed(hosting.turns_renew(works=[again]))
        assert held == ({}, {turn.id: TurnState.RUNNING})
        for work, mine in ((before, []), (again, [(turn.id,)])):
            hold = statements.hold(turn_id=work.turn_id, owner=work.owner, attempt=work.attempt)
            assert [tuple(row) for row in performed(one(hold))] == mine


def one(statement: Statement) -> Script[list[tuple[object, ...]]]:
    (rows,) = yield [statement]
    return rows


def test_what_a_model_writes_is_kept_whatever_it_is(acme, post: Post):
    """PostgreSQL has no NUL."""
    turn = asked(acme, "nul: one~two")
    assert (turn.state, turn.output_message.text) == (TurnState.COMPLETED, "one\ufffdtwo")
    called = asked(acme, calls(("look", {"to": "a\x00b"})) + "\nthen nul: ~")
    assert (called.state, called.output_message.text) == (TurnState.COMPLETED, "\ufffd")
    assert [row.step for row in ledger(acme, called)] == [1, 2]
