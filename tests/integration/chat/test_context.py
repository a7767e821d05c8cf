"""Sessions that outgrow their model's context window: older messages are summarised, and none is dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import requests
from prometheus_client import REGISTRY

from apps.chat import host, hosting, services, tasks, turns
from apps.chat.models import Turn, TurnState
from apps.chat.services import Place
from apps.sessions import services as session_services
from apps.sessions.models import Message, ModelProfile
from somaagent.background import run_coroutine
from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import performed
from tests.factories import Organisation, organisation, submitted, taken
from tests.integration.chat.scripted import script

pytestmark = pytest.mark.django_db(transaction=True)
WINDOW = 600
MOST_OUTPUT = 100


@pytest.fixture
def acme(model) -> Organisation:
    """An organisation whose model reads and writes 600 tokens at once."""
    requests.post(f"{model}/_reset", timeout=60).raise_for_status()
    made = organisation("acme", model_url=f"{model}/v1")
    profile(made, context_tokens=WINDOW, max_output_tokens=MOST_OUTPUT)
    return made


def profile(acme: Organisation, **facts: Any) -> ModelProfile:
    with tenant_scope(acme.tenant.id):
        return session_services.model_profile_ensure(tenant_id=acme.tenant.id, slug="scripted", **facts)


def asked(model: str) -> list[list[dict[str, str]]]:
    """The messages of each request until now."""
    found = requests.get(f"{model}/_requests", timeout=60).json()["requests"]
    return [request["body"]["messages"] for request in found]


def is_summary(request: list[dict[str, str]]) -> bool:
    return "<conversation>" in request[-1]["content"]


def counted(request: list[dict[str, str]]) -> int:
    """Tokens as this server counts them: words."""
    return sum(len(message["content"].split()) for message in request)


def said(acme: Organisation, text: str, session_id: UUID | None = None, **facts: Any) -> Turn:
    with tenant_scope(acme.tenant.id):
        return submitted(acme.owner, text, session_id=session_id, **facts).turn


def hosted(acme: Organisation, turn: Turn) -> Turn:
    tasks.turn_run(str(turn.id), str(acme.tenant.id))
    run_coroutine(host.idle())
    with tenant_scope(acme.tenant.id):
        return Turn.objects.select_related("output_message", "input_message").get(id=turn.id)


def told(number: int) -> str:
    return f"#fact{number} is what I tell you now " + "and a little more " * 8


def talk(acme: Organisation, numbers: range, session_id: UUID | None = None) -> list[Turn]:
    """So many turns, one after the other."""
    found: list[Turn] = []
    for number in numbers:
        found.append(hosted(acme, said(acme, told(number), session_id)))
        session_id = found[0].session_id
    assert [turn.state for turn in found] == [TurnState.COMPLETED] * len(found)
    return found


def summaries(acme: Organisation, session_id: UUID) -> list[Message]:
    with tenant_scope(acme.tenant.id):
        return list(Message.objects.filter(session_id=session_id).exclude(summary="").order_by("id"))


def events(acme: Organisation, turn: Turn, name: str) -> list[dict[str, Any]]:
    async def collected() -> list[dict[str, Any]]:
        found = await turns.follow(actor=acme.owner, turn_id=turn.id, after=0)
        return [record.values() async for record in found if record is not None and record.type == name]

    return run_coroutine(collected())


def test_a_session_goes_on_for_ever_in_a_small_window_and_forgets_no_fact(acme, model):
    count = REGISTRY.get_sample_value("soma_compactions_total", {"covers": "conversation"}) or 0.0
    talked = talk(acme, range(12))
    everything = asked(model)
    answers = [request for request in everything if not is_summary(request)]
    assert len(answers) == 12
    assert all(counted(request) <= WINDOW - MOST_OUTPUT for request in everything)
    *_, summary = summaries(acme, talked[0].session_id)
    last = answers[-1]
    assert last[0] == {"role": "system", "content": "Answer."}
    assert summary.summary in last[1]["content"]
    assert last[-1] == {"role": "user", "content": told(11)}
    newest = [message["content"] for message in last[3:]]
    with tenant_scope(acme.tenant.id):
        after = Message.objects.filter(session_id=talked[0].session_id, id__gt=summary.id).order_by("id")
        assert newest == [message.text for message in after][:-1]
    # What is no longer read word for word stands in the summary.
    assert all(f"#fact{number}" in " ".join([summary.summary, *newest]) for number in range(12))
    compacted = (
        REGISTRY.get_sample_value("soma_compactions_total", {"covers": "conversation"}) or 0.0
    ) - count
    assert compacted >= len(summaries(acme, talked[0].session_id)) >= 2


def test_whoever_follows_a_turn_sees_the_summary_and_the_turn_pays_for_it(acme, model):
    talked = talk(acme, range(12))
    compacted = [turn for turn in talked if events(acme, turn, "context.compacted")]
    assert 0 < len(compacted) < 12
    [event, *_] = events(acme, compacted[0], "context.compacted")
    assert (event["step"], event["covers"]) == (1, "conversation")
    assert event["tokens_before"] > event["tokens_after"]
    assert event["summary"] in [message.summary for message in summaries(acme, talked[0].session_id)]
    [step] = events(acme, compacted[0], "step.completed")
    assert step["usage"]["input_tokens"] > event["usage"]["input_tokens"] > 0
    assert compacted[0].input_tokens == step["usage"]["input_tokens"]


def test_each_branch_has_the_summaries_of_what_was_said_on_it(acme, model):
    talked = talk(acme, range(12))
    session_id = talked[0].session_id
    first, *_, newest = summaries(acme, session_id)

    def edited(turn: Turn, text: str) -> list[dict[str, str]]:
        place = Place(replaces=turn.input_message_id)
        assert hosted(acme, said(acme, text, session_id, place=place)).state == TurnState.COMPLETED
        return asked(model)[-1]

    # Before the first summary there is nothing but the beginning.
    request = edited(talked[1], "say: on another branch")
    assert [message["content"] for message in request][1:] == [
        told(0),
        talked[0].output_message.text,
        "say: on another branch",
    ]
    # After it, and before the next, the branch goes on from the first.
    following = next(turn for turn in talked if turn.input_message_id > first.id)
    request = edited(following, "say: on a third one")
    assert first.summary in request[1]["content"]
    assert first.summary != newest.summary
    assert request[-1]["content"] == "say: on a third one"
    assert len(request) == 4


def test_a_question_that_was_summarised_since_is_asked_again_word_for_word(acme, model):
    talked = talk(acme, range(12))
    with tenant_scope(acme.tenant.id):
        # Whatever summaries there are: that of the question itself is not in its own way.
        Message.objects.filter(id=talked[3].input_message_id).update(summary="not to be read")
        again = performed(services.turn_retry(actor=acme.owner, turn_id=talked[3].id)).turn
        conversation = taken(again).conversation
    assert conversation.messages[-1] == ("user", told(3))
    assert conversation.summary != "not to be read"


def test_where_the_window_is_not_known_a_long_session_is_read_to_its_beginning(acme, model):
    profile(acme, context_tokens=None)
    [turn] = talk(acme, range(1))
    with tenant_scope(acme.tenant.id):
        parent, rows = turn.output_message_id, []
        for number in range(1100):
            role = "assistant" if number % 2 else "user"
            facts = {"tenant_id": acme.tenant.id, "session_id": turn.session_id, "parent_id": parent}
            rows.append(Message(id=uuid7(), role=role, text=f"line {number}", **facts))
            parent = rows[-1].id
        Message.objects.bulk_create(rows)
        session_services.session_update(
            actor=acme.owner, session_id=turn.session_id, active_message=turn.input_message_id
        )
    hosted(acme, said(acme, "say: all of it", turn.session_id))
    request = [message["content"] for message in asked(model)[-1]]
    assert len(request) == 1 + 2 + 1100 + 1
    assert (request[1], request[3], request[-1]) == (told(0), "line 0", "say: all of it")
    # When the window becomes known, all of it is summarised, piece by piece.
    profile(acme, context_tokens=2000)
    answered = hosted(acme, said(acme, "say: in short", turn.session_id))
    assert answered.state == TurnState.COMPLETED
    assert counted(asked(model)[-1]) <= 2000 - MOST_OUTPUT
    assert "#fact0" in summaries(acme, turn.session_id)[-1].summary


def test_a_host_that_takes_over_goes_on_from_the_summary_of_the_one_that_died(acme, model):
    talked = talk(acme, range(3))
    session_id = talked[0].session_id
    turn = said(acme, "say: taken over", session_id)
    through = talked[1].output_message_id
    assert through is not None

    with tenant_scope(acme.tenant.id):
        work = taken(turn, "a host that died")
        text = "Kept before the host died: #kept"
        for _ in range(2):
            assert performed(hosting.summary_keep(work=work, message_id=through, summary=text))
        lost = replace(work, owner="a host that lost the turn")
        assert not performed(hosting.summary_keep(work=lost, message_id=through, summary="stolen"))
        hosting.turn_give_back(work=work)
    assert hosted(acme, turn).output_message.text == "taken over"
    request = [message["content"] for message in asked(model)[-1]]
    assert "#kept" in request[1]
    assert request[3:] == [told(2), talked[2].output_message.text, "say: taken over"]


def test_a_message_that_does_not_fit_fails_its_turn_with_what_to_do(acme, model):
    turn = hosted(acme, said(acme, "word " * 1000))
    assert (turn.state, turn.error_code, turn.error_retryable) == (
        TurnState.FAILED,
        "context_too_long",
        False,
    )
    assert "Write a shorter message" in turn.error_message
    assert asked(model) == []


def test_a_summary_that_fails_fails_its_turn_and_the_next_try_has_all_of_it(acme, model):
    talked = talk(acme, range(4))
    session_id = talked[0].session_id
    long = "please " * 200
    script(model, "say:")
    failed = hosted(acme, said(acme, long, session_id))
    assert (failed.state, failed.error_code, failed.error_retryable) == (
        TurnState.FAILED,
        "summary_failed",
        True,
    )
    assert summaries(acme, session_id) == []
    with tenant_scope(acme.tenant.id):
        again = performed(services.turn_retry(actor=acme.owner, turn_id=failed.id)).turn
    assert hosted(acme, again).state == TurnState.COMPLETED
    [summary] = summaries(acme, session_id)
    assert "#fact0" in summary.summary


def test_a_server_that_finds_it_too_long_makes_the_session_shorter_once(acme, model):
    profile(acme, context_tokens=None)
    talked = talk(acme, range(8))
    script(model, "too long")
    turn = hosted(acme, said(acme, "say: shorter", talked[0].session_id))
    assert (turn.state, turn.output_message.text) == (TurnState.COMPLETED, "shorter")
    [event] = events(acme, turn, "context.compacted")
    assert event["messages"] > 0
    script(model, "too long")
    alone = hosted(acme, said(acme, "say: nothing to shorten"))
    assert (alone.state, alone.error_code) == (TurnState.FAILED, "context_too_long")


def test_a_host_is_told_the_same_whether_it_takes_a_turn_as_it_is_submitted_or_later(acme, model):
    session_id = talk(acme, range(12))[0].session_id
    with tenant_scope(acme.tenant.id):
        at_once = submitted(acme.owner, "say: now", session_id=session_id, host="a gateway")
        assert at_once.work is not None
        hosting.turn_give_back(work=at_once.work)
        later = taken(at_once.turn, "a worker").conversation
    assert at_once.work.conversation == later
    assert later.messages[-1] == ("user", "say: now")
    assert later.ids[-1] == at_once.turn.input_message_id
    assert later.summarised == summaries(acme, session_id)[-1].id
    assert 0.25 <= later.ratio < 1
