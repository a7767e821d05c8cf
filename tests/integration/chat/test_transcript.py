"""A session as the page shows it."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.chat import hosting, services, transcript
from apps.chat.hosting import Outcome
from apps.chat.models import OnBusy, Turn, TurnState
from apps.sessions import services as sessions
from somaagent.agent.messages import Usage
from somaagent.errors import SomaError
from somaagent.tenancy.scripts import performed
from tests.factories import person, submitted, taken

pytestmark = pytest.mark.django_db


def say(acme, text, session_id=None):
    return submitted(acme.owner, text, session_id=session_id).turn


def end(turn, text="", state=TurnState.COMPLETED, error=""):
    work = taken(turn)
    outcome = Outcome(state, text, Usage(), last_event=5, error_code=error, error_message=error)
    performed(hosting.turn_finish(work=work, outcome=outcome))


def shown(acme, turn, cursor=None):
    return transcript.transcript(actor=acme.owner, session_id=turn.session_id, cursor=cursor)


def told(acme, turn):
    return [(entry.kind, entry.text, getattr(entry, "state", None)) for entry in shown(acme, turn).entries]


def test_a_running_answer_has_its_place(acme):
    turn = say(acme, "Hello?")
    assert told(acme, turn) == [("said", "Hello?", None), ("answer", "", "queued")]
    assert shown(acme, turn).entries[1].open


def test_what_waits_says_so_until_its_time_comes(acme):
    first = say(acme, "One")
    work = taken(first)
    second = submitted(acme.owner, "Two", session_id=first.session_id, on_busy=OnBusy.QUEUE).turn
    submitted(acme.owner, "Three", session_id=first.session_id, on_busy=OnBusy.QUEUE)

    def waits():
        return [entry.waits for entry in shown(acme, first).entries if entry.kind == "answer"]

    assert waits() == [False, True, True]
    performed(services.turn_cancel(actor=acme.owner, turn_id=first.id))
    assert waits() == [False, False, True]
    performed(
        hosting.turn_finish(work=work, outcome=Outcome(TurnState.CANCELLED, "1", Usage(), last_event=5))
    )
    assert told(acme, first)[:4] == [
        ("said", "One", None),
        ("answer", "1", "cancelled"),
        ("said", "Two", None),
        ("answer", "", "queued"),
    ]
    assert not shown(acme, first).entries[1].repeatable
    end(second, "2")
    assert waits() == [False, False, False]


def test_an_answer_that_ends_while_it_is_read_is_shown_as_open(acme):
    turn = say(acme, "Hello?")
    walks = []

    def ends_after_the_messages(execute, sql, *rest):
        result = execute(sql, *rest)
        if "RECURSIVE" in sql and not walks:
            walks.append(sql)
            end(turn, "Hi!")
        return result

    with connection.execute_wrapper(ends_after_the_messages):
        assert shown(acme, turn).entries[1].open
    assert told(acme, turn)[1] == ("answer", "Hi!", "completed")


def test_an_answer_can_be_asked_for_again_at_the_end_of_its_branch_only(acme):
    first = say(acme, "One")
    assert not shown(acme, first).entries[1].repeatable
    end(first, "1")
    assert shown(acme, first).entries[1].repeatable
    assert not shown(acme, first).entries[1].retryable
    end(say(acme, "Two", first.session_id), "2")
    assert [entry.repeatable for entry in shown(acme, first).entries if entry.kind == "answer"] == [
        False,
        True,
    ]


def test_of_answers_without_a_word_only_the_last_is_shown(acme):
    first = say(acme, "Hello?")
    end(first, state=TurnState.FAILED, error="model_failed")
    assert shown(acme, first).entries[1].retryable
    second = performed(services.turn_retry(actor=acme.owner, turn_id=first.id)).turn
    assert told(acme, first) == [("said", "Hello?", None), ("answer", "", "queued")]
    end(second, "Hi!")
    assert told(acme, first) == [("said", "Hello?", None), ("answer", "Hi!", "completed")]


def test_an_answer_that_was_stopped_in_the_middle_stays_beside_the_next_one(acme):
    first = say(acme, "Count")
    end(first, "one two", state=TurnState.CANCELLED)
    end(performed(services.turn_retry(actor=acme.owner, turn_id=first.id)).turn, "one two three")
    assert told(acme, first) == [("said", "Count", None), ("answer", "one two three", "completed")]
    fork = shown(acme, first).entries[1].fork
    assert (fork.number, fork.total, fork.after) == (2, 2, None)
    sessions.session_update(actor=acme.owner, session_id=first.session_id, active_message=fork.before)
    assert told(acme, first) == [("said", "Count", None), ("answer", "one two", "cancelled")]
    assert shown(acme, first).entries[1].retryable


def test_a_long_conversation_comes_in_parts_and_nothing_is_said_twice(acme):
    turn = None
    for number in range(45):
        turn = say(acme, f"q{number}", turn.session_id if turn else None)
        end(turn, f"a{number}")
    last = shown(acme, turn)
    before = shown(acme, turn, last.earlier)
    rest = shown(acme, turn, before.earlier)
    assert rest.earlier is None
    texts = [entry.text for part in (rest, before, last) for entry in part.entries]
    assert texts == [f"{who}{number}" for number in range(45) for who in "qa"]


def test_the_number_of_queries_does_not_grow_with_the_conversation(acme):
    turn = say(acme, "q")
    end(turn, "a")
    with CaptureQueriesContext(connection) as few:
        shown(acme, turn)
        transcript.session_page(actor=acme.owner, archived=False)
    for number in range(15):
        turn = say(acme, f"q{number}", turn.session_id)
        end(turn, f"a{number}")
        say(acme, "another session")
    with CaptureQueriesContext(connection) as many:
        part = shown(acme, turn)
        page = transcript.session_page(actor=acme.owner, archived=False)
        assert len(part.entries) == 32
        assert len({(entry.text, item.agent) for entry in part.entries for item in page.items}) > 1
    assert len(many) == len(few)


def test_what_is_another_persons_is_not_there(acme):
    turn = say(acme, "mine")
    with pytest.raises(SomaError, match="no such"):
        transcript.transcript(actor=person("other", acme.tenant), session_id=turn.session_id)
    with pytest.raises(SomaError, match="no such"):
        transcript.answer(actor=person("another", acme.tenant), turn_id=turn.id)
    assert Turn.objects.count() == 1
