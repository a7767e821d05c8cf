"""A turn's row: submitted once, taken once, finished once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.chat import selectors, services
from apps.chat.models import Turn, TurnState
from apps.chat.services import Outcome
from apps.sessions import selectors as session_selectors
from apps.sessions import services as session_services
from apps.sessions.models import Message
from somaagent.agent.messages import Usage
from somaagent.errors import SomaError
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.scope import tenant_scope
from tests.factories import organisation, person

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme():
    """An organisation, with its tenant's scope open."""
    made = organisation()
    with tenant_scope(made.tenant.id):
        yield made


def submit(acme, text="Hello there", **facts):
    return services.turn_submit(actor=acme.owner, text=text, **facts)[0]


def completed(text="Hi."):
    return Outcome(TurnState.COMPLETED, text, Usage(3, 0, 2, 0), last_event=5)


def code_of(call) -> str:
    with pytest.raises(SomaError) as refused:
        call()
    return refused.value.code


def test_from_submission_to_answer(acme):
    turn = submit(acme)
    work = services.turn_claim(turn_id=turn.id, owner="gateway 1")
    assert work is not None
    assert work.conversation.messages == [("user", "Hello there")]
    mine, message_id = services.turn_finish(turn_id=turn.id, owner="gateway 1", outcome=completed())
    assert mine
    turn.refresh_from_db()
    assert (turn.state, turn.output_message_id, turn.output_tokens) == (TurnState.COMPLETED, message_id, 2)
    said = session_selectors.message_list(actor=acme.owner, session_id=turn.session_id)
    assert [(message.role, message.text) for message in said] == [
        ("assistant", "Hi."),
        ("user", "Hello there"),
    ]


def test_the_first_message_names_the_session(acme):
    turn = submit(acme, "What   is\nthe capital of France? " * 10)
    assert turn.session.title.startswith("What is the capital of France?")
    assert len(turn.session.title) <= 60


def test_one_host_takes_a_turn(acme):
    turn = submit(acme)
    assert services.turn_claim(turn_id=turn.id, owner="gateway 1") is not None
    assert services.turn_claim(turn_id=turn.id, owner="gateway 2") is None


def test_a_turn_finishes_once_and_by_its_host(acme):
    turn = submit(acme)
    services.turn_claim(turn_id=turn.id, owner="gateway 1")
    assert services.turn_finish(turn_id=turn.id, owner="gateway 2", outcome=completed("stolen")) == (
        False,
        None,
    )
    assert services.turn_finish(turn_id=turn.id, owner="gateway 1", outcome=completed())[0]
    assert services.turn_finish(turn_id=turn.id, owner="gateway 1", outcome=completed("again")) == (
        False,
        None,
    )
    assert Message.objects.filter(session_id=turn.session_id).count() == 2


def test_a_busy_session_takes_no_second_turn(acme):
    turn = submit(acme)
    assert code_of(lambda: submit(acme, "And?", session_id=turn.session_id)) == "session_busy"
    assert Message.objects.filter(session_id=turn.session_id).count() == 1


def test_the_same_key_finds_the_same_turn(acme):
    once = Idempotency("order-1", b"a" * 32)
    first, new = services.turn_submit(actor=acme.owner, text="Hello", idempotency=once)
    again, newer = services.turn_submit(actor=acme.owner, text="Hello", idempotency=once)
    assert (first.id, new, newer) == (again.id, True, False)
    other = Idempotency("order-1", b"b" * 32)
    assert code_of(lambda: submit(acme, "Other", idempotency=other)) == "idempotency_key_reused"


def test_a_colleague_cannot_see_or_stop_a_turn(acme):
    turn = submit(acme)
    colleague = person("colleague", acme.tenant)
    assert code_of(lambda: selectors.turn_get(actor=colleague, turn_id=turn.id)) == "not_found"
    assert code_of(lambda: services.turn_cancel(actor=colleague, turn_id=turn.id)) == "not_found"


def test_a_queued_turn_is_cancelled_at_once_and_a_running_one_by_its_host(acme):
    queued = submit(acme)
    assert services.turn_cancel(actor=acme.owner, turn_id=queued.id).state == TurnState.CANCELLED
    assert services.turn_claim(turn_id=queued.id, owner="gateway 1") is None
    running = submit(acme, session_id=queued.session_id)
    services.turn_claim(turn_id=running.id, owner="gateway 1")
    assert services.turn_cancel(actor=acme.owner, turn_id=running.id).state == TurnState.RUNNING
    assert services.turn_renew(turn_id=running.id, owner="gateway 1") == TurnState.CANCELLED


def test_a_failed_turn_is_tried_again_on_the_same_message(acme):
    turn = submit(acme)
    services.turn_claim(turn_id=turn.id, owner="gateway 1")
    failed = Outcome(
        TurnState.FAILED, "Half an", Usage(), 3, "model_cut_off", "Cut off.", error_retryable=True
    )
    services.turn_finish(turn_id=turn.id, owner="gateway 1", outcome=failed)
    once = Idempotency("retry-1", b"r" * 32)
    again, new = services.turn_retry(actor=acme.owner, turn_id=turn.id, idempotency=once)
    assert (again, False) == services.turn_retry(actor=acme.owner, turn_id=turn.id, idempotency=once)
    assert new
    work = services.turn_claim(turn_id=again.id, owner="gateway 1")
    assert work is not None
    assert work.conversation.messages == [("user", "Hello there")]
    assert code_of(lambda: services.turn_retry(actor=acme.owner, turn_id=turn.id)) == "turn_not_retryable"
    assert not Message.objects.get(text="Half an").complete


def test_a_turn_whose_host_died_ends_as_failed_and_can_be_tried_again(acme):
    turn = submit(acme)
    services.turn_claim(turn_id=turn.id, owner="gateway 1")
    assert services.turns_sweep().lost == []
    Turn.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert services.turns_sweep().lost == [turn.id]
    turn.refresh_from_db()
    assert (turn.state, turn.error_code, turn.error_retryable) == (TurnState.FAILED, "host_lost", True)
    assert services.turn_renew(turn_id=turn.id, owner="gateway 1") is None


def test_a_turn_that_nobody_took_is_found(acme):
    turn = submit(acme)
    assert services.turns_sweep().waiting == []
    Turn.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    assert services.turns_sweep().waiting == [turn.id]


def test_a_deleted_session_takes_its_turns_and_messages_with_it(acme):
    turn = submit(acme)
    services.turn_claim(turn_id=turn.id, owner="gateway 1")
    session_services.session_delete(actor=acme.owner, session_id=turn.session_id)
    assert services.turn_renew(turn_id=turn.id, owner="gateway 1") is None
    assert services.turn_finish(turn_id=turn.id, owner="gateway 1", outcome=completed()) == (False, None)
    assert Message.objects.count() == Turn.objects.count() == 0


def test_an_archived_session_takes_no_turn(acme):
    session = session_services.session_create(actor=acme.owner)
    session_services.session_update(actor=acme.owner, session_id=session.id, archived=True)
    assert code_of(lambda: submit(acme, session_id=session.id)) == "session_archived"


def test_a_message_has_a_length_that_it_may_have(acme, settings):
    settings.MESSAGE_MAX_CHARS = 10
    assert code_of(lambda: submit(acme, "12345678901")) == "message_too_long"
    assert code_of(lambda: submit(acme, " \n ")) == "invalid"
