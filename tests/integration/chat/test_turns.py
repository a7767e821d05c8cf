"""A turn's row: submitted once, taken once, finished once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.chat import hosting, selectors, services
from apps.chat.hosting import Outcome
from apps.chat.models import Turn, TurnState
from apps.chat.services import Submitted
from apps.sessions import selectors as session_selectors
from apps.sessions import services as session_services
from apps.sessions.models import Message
from somaagent.agent.messages import ModelMessage, Usage
from somaagent.agent.step_events import StepCompleted
from somaagent.errors import SomaError
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.scripts import performed
from somaagent.web.pagination import PageQuery
from tests.factories import claimed, person, submitted, taken

pytestmark = pytest.mark.django_db


def submit(acme, text="Hello there", **facts):
    return submitted(acme.owner, text, **facts).turn


def retry(acme, turn, **facts):
    return performed(services.turn_retry(actor=acme.owner, turn_id=turn.id, **facts))


def cancel(actor, turn):
    return performed(services.turn_cancel(actor=actor, turn_id=turn.id))


def completed(text="Hi."):
    return Outcome(TurnState.COMPLETED, text, Usage(3, 0, 2, 0), last_event=5)


def code_of(call) -> str:
    with pytest.raises(SomaError) as refused:
        call()
    return refused.value.code


def test_from_submission_to_answer(acme):
    turn = submit(acme)
    work = taken(turn, "gateway 1")
    assert work.conversation.messages == [("user", "Hello there")]
    finished = performed(hosting.turn_finish(work=work, outcome=completed()))
    assert finished.mine
    turn.refresh_from_db()
    assert (turn.state, turn.output_message_id, turn.output_tokens) == (
        TurnState.COMPLETED,
        finished.message_id,
        2,
    )
    said = performed(
        session_selectors.message_page(actor=acme.owner, session_id=turn.session_id, query=PageQuery())
    )
    assert [(message.role, message.text) for message in said.items] == [
        ("assistant", "Hi."),
        ("user", "Hello there"),
    ]


def test_the_first_message_names_the_session(acme):
    turn = submit(acme, "What   is\nthe capital of France? " * 10)
    assert turn.session.title.startswith("What is the capital of France?")
    assert len(turn.session.title) <= 60


def test_one_host_takes_a_turn(acme):
    turn = submit(acme)
    assert claimed(turn, "gateway 1") is not None
    assert claimed(turn, "gateway 2") is None


def test_a_turn_finishes_once_and_by_its_host(acme):
    turn = submit(acme)
    work = taken(turn, "gateway 1")

    def finish(owner: str, text: str) -> hosting.Finished:
        return performed(hosting.turn_finish(work=replace(work, owner=owner), outcome=completed(text)))

    assert not finish("gateway 2", "stolen").mine
    first = finish("gateway 1", "Hi.")
    assert first.mine
    # A host whose connection broke in the commit does it again, and learns that it was done.
    assert finish("gateway 1", "again") == first
    assert not finish("gateway 2", "stolen").mine
    assert Message.objects.filter(session_id=turn.session_id).count() == 2


def test_a_busy_session_takes_no_second_turn(acme):
    turn = submit(acme)
    assert code_of(lambda: submit(acme, "And?", session_id=turn.session_id)) == "session_busy"
    assert Message.objects.filter(session_id=turn.session_id).count() == 1


def test_the_same_key_finds_the_same_turn(acme):
    once = Idempotency("order-1", b"a" * 32)
    first = submitted(acme.owner, "Hello", idempotency=once)
    again = submitted(acme.owner, "Hello", idempotency=once)
    assert (first.turn.id, first.starts, again.starts) == (again.turn.id, True, False)
    other = Idempotency("order-1", b"b" * 32)
    assert code_of(lambda: submit(acme, "Other", idempotency=other)) == "idempotency_key_reused"


def test_a_colleague_cannot_see_or_stop_a_turn(acme):
    turn = submit(acme)
    colleague = person("colleague", acme.tenant)
    assert code_of(lambda: selectors.turn_get(actor=colleague, turn_id=turn.id)) == "not_found"
    assert code_of(lambda: cancel(colleague, turn)) == "not_found"


def test_a_queued_turn_is_cancelled_at_once_and_a_running_one_by_its_host(acme):
    queued = submit(acme)
    assert cancel(acme.owner, queued).turn.state == TurnState.CANCELLED
    assert claimed(queued, "gateway 1") is None
    running = submit(acme, session_id=queued.session_id)
    work = taken(running, "gateway 1")
    assert cancel(acme.owner, running).turn.state == TurnState.RUNNING
    assert performed(hosting.turns_renew(works=[work])) == {running.id: TurnState.CANCELLED}


def test_a_failed_turn_is_tried_again_on_the_same_message(acme):
    turn = submit(acme)
    work = taken(turn, "gateway 1")
    failed = Outcome(
        TurnState.FAILED, "Half an", Usage(), 3, "model_cut_off", "Cut off.", error_retryable=True
    )
    performed(hosting.turn_finish(work=work, outcome=failed))
    once = Idempotency("retry-1", b"r" * 32)
    again = retry(acme, turn, idempotency=once)
    assert again.starts
    assert retry(acme, turn, idempotency=once) == Submitted(again.turn)
    work = taken(again.turn, "gateway 1")
    assert work.conversation.messages == [("user", "Hello there")]
    assert code_of(lambda: retry(acme, turn)) == "session_busy"
    assert not Message.objects.get(text="Half an").complete


def lease_runs_out(turn):
    Turn.objects.filter(id=turn.id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def step(number, text="Half.", calls=()):
    return StepCompleted(number, ModelMessage("assistant", text, calls), (), Usage(1, 0, 1, 0), "stop")


def test_a_turn_whose_host_died_goes_on_elsewhere_after_its_last_step(acme):
    turn = submit(acme)
    first = taken(turn, "gateway 1")
    assert performed(hosting.step_keep(work=first, step=step(1)))
    assert performed(hosting.step_keep(work=first, step=step(1)))
    assert hosting.turns_sweep().waiting == []
    lease_runs_out(turn)
    assert hosting.turns_sweep().waiting == [turn.id]
    work = claimed(turn, "gateway 2")
    assert work is not None
    assert (work.attempt, list(work.done)) == (2, [step(1)])
    assert performed(hosting.turns_renew(works=[first])) == {}
    assert not performed(hosting.step_keep(work=first, step=step(2)))


def test_a_turn_that_takes_every_host_with_it_is_given_up(acme):
    turn = submit(acme)
    for attempt in range(1, hosting.MOST_HOSTS_LOST + 1):
        claimed(turn, f"gateway {attempt}")
        lease_runs_out(turn)
        swept = hosting.turns_sweep()
    assert (swept.waiting, swept.over) == ([], [turn])
    (turn,) = swept.over
    assert (turn.state, turn.error_code, turn.error_retryable) == (TurnState.FAILED, "host_lost", True)


def test_a_cancelled_turn_whose_host_died_is_cancelled_all_the_same(acme):
    turn = submit(acme)
    claimed(turn, "gateway 1")
    cancel(acme.owner, turn)
    lease_runs_out(turn)
    (over,) = hosting.turns_sweep().over
    assert (over.id, over.state) == (turn.id, TurnState.CANCELLED)


def test_a_host_that_stops_gives_its_turn_back(acme):
    turn = submit(acme)
    work = taken(turn, "gateway 1")
    for another in (replace(work, owner="gateway 2"), replace(work, attempt=2)):
        assert hosting.turn_give_back(work=another) is None
    assert hosting.turn_give_back(work=work) is TurnState.QUEUED
    assert claimed(turn, "gateway 2") is not None


def test_a_turn_that_nobody_took_is_found(acme):
    turn = submit(acme)
    assert hosting.turns_sweep().waiting == []
    Turn.objects.update(queued_at=timezone.now() - timedelta(minutes=1))
    assert hosting.turns_sweep().waiting == [turn.id]


def test_a_deleted_session_takes_its_turns_and_messages_with_it(acme):
    turn = submit(acme)
    work = taken(turn, "gateway 1")
    session_services.session_delete(actor=acme.owner, session_id=turn.session_id)
    assert performed(hosting.turns_renew(works=[work])) == {}
    gone = hosting.Finished(there=False, mine=False)
    assert performed(hosting.turn_finish(work=work, outcome=completed())) == gone
    assert Message.objects.count() == Turn.objects.count() == 0


def test_an_archived_session_takes_no_turn(acme):
    session = session_services.session_create(actor=acme.owner)
    session_services.session_update(actor=acme.owner, session_id=session.id, archived=True)
    assert code_of(lambda: submit(acme, session_id=session.id)) == "session_archived"


def test_a_message_has_a_length_that_it_may_have(acme, settings):
    settings.MESSAGE_MAX_CHARS = 10
    assert code_of(lambda: submit(acme, "12345678901")) == "message_too_long"
    assert code_of(lambda: submit(acme, " \n ")) == "invalid"
