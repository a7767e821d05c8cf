"""A session is a tree: inputs are edited, answers given anew; what comes meanwhile finds its place."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.chat import hosting, services
from apps.chat.hosting import Outcome
from apps.chat.models import OnBusy, Turn, TurnState
from apps.chat.services import Place
from apps.sessions import selectors as sessions
from apps.sessions import services as session_services
from apps.sessions.models import Message, Session
from somaagent.agent.messages import Usage
from somaagent.errors import SomaError
from somaagent.tenancy.scripts import performed
from somaagent.web.pagination import PageQuery
from tests.factories import claimed, person, submitted, taken

pytestmark = pytest.mark.django_db


def submit(acme, text, session_id=None, **facts):
    return submitted(acme.owner, text, session_id=session_id, **facts)


def run(turn, text="", state=TurnState.COMPLETED):
    """Take the turn and end it; gives what its host was told, and what it was told at the end."""
    work = taken(turn)
    return work, end(work, text, state)


def end(work, text="", state=TurnState.COMPLETED):
    return performed(hosting.turn_finish(work=work, outcome=Outcome(state, text, Usage(), last_event=5)))


def said(acme, session_id, **query):
    return [message.text for message in reversed(page_of(acme, session_id, **query).items)]


def page_of(acme, session_id, **query):
    facts = {"actor": acme.owner, "session_id": session_id, "query": PageQuery()}
    return performed(sessions.message_page(**facts, **query))


def code_of(call) -> str:
    with pytest.raises(SomaError) as refused:
        call()
    return refused.value.code


def test_an_edited_question_begins_a_branch_and_the_other_can_be_gone_back_to(acme):
    first = submit(acme, "What is the capital of France?").turn
    run(first, "Paris.")
    second = submit(acme, "And of Spain?", first.session_id).turn
    run(second, "Madrid.")

    edited = submit(
        acme, "And of Italy?", first.session_id, place=Place(replaces=second.input_message_id)
    ).turn
    work, _ = run(edited, "Rome.")
    assert [text for _, text in work.conversation.messages] == [
        "What is the capital of France?",
        "Paris.",
        "And of Italy?",
    ]
    assert said(acme, first.session_id)[2:] == ["And of Italy?", "Rome."]

    session_services.session_update(
        actor=acme.owner, session_id=first.session_id, active_message=second.input_message_id
    )
    assert said(acme, first.session_id)[2:] == ["And of Spain?", "Madrid."]
    assert said(acme, first.session_id, through=edited.input_message_id)[2:] == ["And of Italy?", "Rome."]


def test_the_first_question_can_be_edited_too(acme):
    first = submit(acme, "Hello").turn
    run(first, "Hi.")
    edited = submit(acme, "Good morning", first.session_id, place=Place(replaces=first.input_message_id)).turn
    work, _ = run(edited, "Good morning to you.")
    assert work.conversation.messages == [("user", "Good morning")]
    (shown, *_) = reversed(page_of(acme, first.session_id).items)
    assert shown.alternatives == [first.input_message_id, edited.input_message_id]


def test_an_input_follows_the_answer_that_it_names(acme):
    first = submit(acme, "One").turn
    run(first, "1")
    first.refresh_from_db()
    run(submit(acme, "Two", first.session_id).turn, "2")
    beside = submit(acme, "Three", first.session_id, place=Place(after=first.output_message_id)).turn
    work, _ = run(beside, "3")
    assert [text for _, text in work.conversation.messages] == ["One", "1", "Three"]


def test_an_answer_is_given_anew_beside_the_first(acme):
    first = submit(acme, "Tell a joke").turn
    run(first, "Knock, knock.")
    again = performed(services.turn_retry(actor=acme.owner, turn_id=first.id)).turn
    work, _ = run(again, "A horse walks into a bar.")
    assert work.conversation.messages == [("user", "Tell a joke")]
    assert said(acme, first.session_id) == ["Tell a joke", "A horse walks into a bar."]
    run(submit(acme, "Another", first.session_id).turn, "Why not.")
    assert said(acme, first.session_id)[1] == "A horse walks into a bar."


def test_what_is_of_another_session_or_side_is_no_place(acme):
    turn = submit(acme, "Hello").turn
    run(turn, "Hi.")
    turn.refresh_from_db()
    other = submit(acme, "Elsewhere").turn
    for place in (
        Place(replaces=other.input_message_id),
        Place(replaces=turn.output_message_id),
        Place(after=turn.input_message_id),
        Place(after=uuid4()),
        Place(after=turn.output_message_id, replaces=turn.input_message_id),
    ):
        assert code_of(lambda place=place: submit(acme, "x", turn.session_id, place=place)) == "invalid"

    def go_to(message_id):
        session_services.session_update(
            actor=acme.owner, session_id=turn.session_id, active_message=message_id
        )

    assert code_of(lambda: go_to(other.input_message_id)) == "invalid"
    colleague = person("colleague", acme.tenant)
    assert code_of(lambda: performed(services.turn_retry(actor=colleague, turn_id=turn.id))) == "not_found"


def test_what_is_said_meanwhile_waits_and_follows_the_answer(acme):
    first = submit(acme, "One").turn
    work = taken(first)
    second = submit(acme, "Two", first.session_id, on_busy=OnBusy.QUEUE)
    third = submit(acme, "Three", first.session_id, on_busy=OnBusy.QUEUE)
    assert not second.starts
    assert not third.starts
    assert claimed(second.turn, "other") is None

    finished = end(work, "1")
    assert finished.following == second.turn.id
    assert claimed(third.turn, "other") is None
    told, finished = run(second.turn, "2")
    assert [text for _, text in told.conversation.messages] == ["One", "1", "Two"]
    assert finished.following == third.turn.id
    run(third.turn, "3")
    assert said(acme, first.session_id) == ["One", "1", "Two", "2", "Three", "3"]


def test_what_waits_goes_on_after_a_failure_and_after_a_cancelled_one(acme):
    first = submit(acme, "One").turn
    second = submit(acme, "Two", first.session_id, on_busy=OnBusy.QUEUE).turn
    third = submit(acme, "Three", first.session_id, on_busy=OnBusy.QUEUE).turn
    _, finished = run(first, state=TurnState.FAILED)
    assert finished.following == second.id
    cancelled = performed(services.turn_cancel(actor=acme.owner, turn_id=second.id))
    assert cancelled.following == third.id
    told, _ = run(third, "3")
    assert [text for _, text in told.conversation.messages] == ["One", "Two", "Three"]


def test_an_interruption_stops_what_runs_and_what_waits(acme):
    first = submit(acme, "One").turn
    work = taken(first)
    waiting = submit(acme, "Two", first.session_id, on_busy=OnBusy.QUEUE).turn
    now = submit(acme, "Stop! Three", first.session_id, on_busy=OnBusy.INTERRUPT)
    assert not now.starts
    assert {turn.id: turn.state for turn in now.stopped} == {
        first.id: TurnState.RUNNING,
        waiting.id: TurnState.CANCELLED,
    }
    assert performed(hosting.turns_renew(works=[work])) == {first.id: TurnState.CANCELLED}
    finished = end(work, "On", TurnState.CANCELLED)
    assert finished.following == now.turn.id
    told, _ = run(now.turn, "3")
    assert [text for _, text in told.conversation.messages] == ["One", "On", "Two", "Stop! Three"]


def test_an_interruption_of_what_nobody_took_begins_at_once(acme):
    first = submit(acme, "One").turn
    now = submit(acme, "Two", first.session_id, on_busy=OnBusy.INTERRUPT)
    assert now.starts
    assert [turn.state for turn in now.stopped] == [TurnState.CANCELLED]
    run(now.turn, "2")


def test_a_queue_has_an_end(acme):
    first = submit(acme, "0").turn
    for number in range(services.MOST_WAITING):
        submit(acme, str(number), first.session_id, on_busy=OnBusy.QUEUE)
    full = lambda: submit(acme, "x", first.session_id, on_busy=OnBusy.QUEUE)  # noqa: E731 a story's word
    assert code_of(full) == "session_busy"


def test_the_sweep_leaves_alone_what_has_to_wait(acme):
    first = submit(acme, "One").turn
    claimed(first, "test")
    second = submit(acme, "Two", first.session_id, on_busy=OnBusy.QUEUE).turn
    Turn.objects.update(queued_at="2026-01-01T00:00:00Z")
    assert hosting.turns_sweep().waiting == []
    Turn.objects.filter(id=first.id).update(state=TurnState.FAILED)
    assert hosting.turns_sweep().waiting == [second.id]
    assert claimed(second, "test") is not None


def long_session(acme, length):
    """A session with one branch of so many messages."""
    session = session_services.session_create(actor=acme.owner)
    rows, parent = [], None
    for number in range(length):
        role = "assistant" if number % 2 else "user"
        row = Message(tenant=acme.tenant, session=session, parent=parent, role=role, text=f"m{number}")
        rows.append(row)
        parent = row
    Message.objects.bulk_create(rows, batch_size=2000)
    Session.objects.filter(id=session.id).update(active_message=parent)
    return session


def test_ten_thousand_messages_cost_no_more_than_ten(acme):
    short, long = long_session(acme, 10), long_session(acme, 10_000)

    def read(session):
        with CaptureQueriesContext(connection) as queries:
            texts = said(acme, session.id)
        return texts, [query["sql"] for query in queries]

    _, few = read(short)
    texts, many = read(long)
    assert texts == [f"m{number}" for number in range(9950, 10_000)]
    assert len(many) == len(few)
    with connection.cursor() as cursor:
        for statement in many:
            cursor.execute(f"EXPLAIN {statement}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "Seq Scan on agent_sessions_message" not in plan, plan

    session_services.session_delete(actor=acme.owner, session_id=long.id)
    assert Message.objects.filter(session_id=long.id).count() == 0
