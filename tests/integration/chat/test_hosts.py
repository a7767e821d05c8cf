"""Turns whose gateway is gone, and readers whose events are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

import somaagent.celery  # noqa: F401 the sweep sends its messages to this application's broker
from apps.chat import host, hosting, services, stream, tasks, turns
from apps.chat.hosting import Outcome
from apps.chat.models import Turn, TurnState
from apps.chat.taps import Record
from apps.sessions import services as session_services
from apps.sessions.models import Message
from somaagent import valkey
from somaagent.agent.messages import ModelMessage, Usage
from somaagent.agent.step_events import StepCompleted
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import performed
from tests import model_server
from tests.factories import Organisation, claimed, organisation, submitted, taken

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_message_is_left")]


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    with model_server.process() as url:
        yield f"{url}/v1"


@pytest.fixture
def acme(model) -> Organisation:
    return organisation("acme", model_url=model)


def waiting(acme: Organisation, text: str) -> Turn:
    with tenant_scope(acme.tenant.id):
        return submitted(acme.owner, text).turn


def hosted(acme: Organisation, turn: Turn) -> None:
    """A worker gets the message of a turn, and its turns come to their ends."""
    tasks.turn_run(str(turn.id), str(acme.tenant.id))
    run_coroutine(host.idle())


def read(acme: Organisation, turn: Turn, after: int = 0) -> list[Record]:
    return run_coroutine(collected(acme, turn, after))


async def collected(acme: Organisation, turn: Turn, after: int = 0) -> list[Record]:
    events = await turns.follow(actor=acme.owner, turn_id=turn.id, after=after)
    return [record async for record in events if record is not None]


def now(acme: Organisation, turn: Turn) -> Turn:
    with tenant_scope(acme.tenant.id):
        return Turn.objects.select_related("output_message").get(id=turn.id)


def test_a_worker_answers_a_turn_that_no_gateway_took(acme):
    turn = waiting(acme, "say: from the worker")
    hosted(acme, turn)
    answered = now(acme, turn)
    assert (answered.state, answered.output_message.text) == (TurnState.COMPLETED, "from the worker")
    hosted(acme, turn)
    assert now(acme, turn).attempt == 1
    with tenant_scope(acme.tenant.id):
        assert Message.objects.filter(session_id=turn.session_id).count() == 2


def test_the_sweep_hands_over_what_a_dead_host_left_and_a_worker_goes_on(acme):
    turn = waiting(acme, "say: after all")
    with tenant_scope(acme.tenant.id):
        claimed(turn, "a host that died")
        Turn.objects.filter(id=turn.id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    run_coroutine(stream.append(turn.id, Record(1, "turn.started", b"{}")))
    run_coroutine(stream.append(turn.id, Record(2, "text.delta", b'{"text": "aft"}')))
    tasks.turns_sweep()
    assert now(acme, turn).state == TurnState.QUEUED
    hosted(acme, turn)
    events = read(acme, turn)
    assert [record.sequence for record in events] == list(range(1, len(events) + 1))
    restarted = [record.values().get("attempt") for record in events if record.type == "turn.started"]
    assert restarted == [None, 2]
    assert events[-1].values()["text"] == "after all"
    assert now(acme, turn).output_message.text == "after all"


def test_a_turn_whose_answer_was_whole_is_only_finished(acme):
    turn = waiting(acme, "say: asked once")
    step = StepCompleted(1, ModelMessage("assistant", "It was whole."), (), Usage(3, 0, 3, 0), "stop")
    with tenant_scope(acme.tenant.id):
        work = taken(turn, "a host that died")
        performed(hosting.step_keep(work=work, step=step))
        hosting.turn_give_back(work=work)
    hosted(acme, turn)
    answered = now(acme, turn)
    assert (answered.output_message.text, answered.output_tokens) == ("It was whole.", 3)


def test_a_cancelled_turn_of_a_dead_host_ends_for_its_reader(acme):
    turn = waiting(acme, "say: never")
    with tenant_scope(acme.tenant.id):
        claimed(turn, "a host that died")
        performed(services.turn_cancel(actor=acme.owner, turn_id=turn.id))
        Turn.objects.filter(id=turn.id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    tasks.turns_sweep()
    assert [record.type for record in read(acme, turn)] == ["turn.cancelled"]


def test_the_sweep_leaves_a_living_turn_alone(acme):
    turn = waiting(acme, "say: later")
    with tenant_scope(acme.tenant.id):
        claimed(turn, "a host that lives")
    tasks.turns_sweep()
    assert now(acme, turn).state == TurnState.RUNNING


def test_a_reader_whose_events_are_gone_is_told_and_gets_the_answer(acme):
    turn = waiting(acme, "say: kept in the row")
    hosted(acme, turn)
    final = read(acme, turn)[-1]
    run_coroutine(stream.delete(turn.id))
    trimmed, last = read(acme, turn, after=2)
    assert trimmed.type == turns.TRIMMED
    assert (last.sequence, last.type, last.values()) == (final.sequence, "turn.completed", final.values())


def test_a_reader_who_comes_between_the_turns_end_and_its_final_event_misses_nothing(acme):
    turn = waiting(acme, "say: all of it")
    with tenant_scope(acme.tenant.id):
        work = taken(turn, "a host that is slow to tell")
        performed(hosting.turn_finish(work=work, outcome=Outcome(TurnState.COMPLETED, "all", Usage(), 3)))

    async def between() -> list[Record]:
        await stream.append(turn.id, Record(1, "turn.started", b"{}"), Record(2, "text.delta", b"{}"))
        reading = asyncio.create_task(collected(acme, turn))
        await asyncio.sleep(0.3)
        await stream.append(turn.id, Record(3, "turn.completed", b"{}"))
        return await reading

    events = run_coroutine(between())
    assert [event.type for event in events] == ["turn.started", "text.delta", "turn.completed"]


def test_a_host_that_lost_its_turn_cannot_write_its_events(acme):
    turn = waiting(acme, "say: hi")

    async def both() -> None:
        await stream.append(turn.id, Record(1, "turn.started", b"{}"))
        await stream.append(turn.id, Record(1, "turn.started", b"{}"))  # the same, sent again: no harm
        await stream.append(turn.id, Record(1, "text.delta", b"{}"))

    with pytest.raises(stream.StreamLost):
        run_coroutine(both())


def test_a_deleted_session_leaves_no_events_behind(acme):
    turn = waiting(acme, "say: forget me")
    hosted(acme, turn)
    with tenant_scope(acme.tenant.id):
        session_services.session_delete(actor=acme.owner, session_id=turn.session_id)
    assert run_coroutine(stream.last(turn.id)) is None


def test_a_cancelled_turn_that_nobody_took_ends_for_its_reader_too(acme):
    turn = waiting(acme, "say: never")
    run_coroutine(turns.cancel(actor=acme.owner, turn_id=turn.id))
    assert [record.type for record in read(acme, turn)] == ["turn.cancelled"]
    hosted(acme, turn)
    assert now(acme, turn).state == TurnState.CANCELLED


def test_a_host_that_is_stopped_hands_its_turn_over_and_nothing_of_it_is_lost(acme):
    turn = waiting(acme, "slow 0.05: " + " ".join(f"word{n}" for n in range(20)))
    tasks.turn_run(str(turn.id), str(acme.tenant.id))
    reader = run_coroutine(turns.follow(actor=acme.owner, turn_id=turn.id, after=0))
    before = [run_coroutine(anext(reader)) for _ in range(5)]
    run_coroutine(reader.aclose())
    run_coroutine(host.drain(0))
    assert now(acme, turn).state == TurnState.QUEUED
    hosted(acme, turn)
    after = read(acme, turn, after=before[-1].sequence)
    seen = [record.sequence for record in before + after]
    assert seen == list(range(1, len(seen) + 1))
    assert after[-1].values()["text"] == " ".join(f"word{n}" for n in range(20))
    assert now(acme, turn).attempt == 2


def test_a_turn_in_the_background_is_for_a_worker(acme):
    waiting = valkey.blocking_client().llen("somaagent")
    turn = run_coroutine(turns.submit(actor=acme.owner, text="say: no hurry", background=True))
    assert now(acme, turn).state == TurnState.QUEUED
    assert valkey.blocking_client().llen("somaagent") == waiting + 1
    hosted(acme, turn)
    assert now(acme, turn).output_message.text == "no hurry"
