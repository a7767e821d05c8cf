"""Responses in a conversation that outgrows its model's context window, with function calls in it."""

from __future__ import annotations

import itertools
import json
from typing import Any
from uuid import UUID

import orjson
import pytest
import requests
from django.template.loader import render_to_string

from apps.chat import host, tasks, transcript
from apps.chat.models import Turn, TurnState
from apps.chat.responses import selectors, services
from apps.chat.responses.ids import CONVERSATION, name_of
from apps.chat.responses.schemas import ResponseIn
from apps.sessions import services as session_services
from apps.sessions.models import Message
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import performed
from tests.factories import Organisation, organisation

pytestmark = pytest.mark.django_db(transaction=True)
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def acme(model) -> Organisation:
    made = organisation("acme", model_url=f"{model}/v1")
    with tenant_scope(made.tenant.id):
        session_services.model_profile_ensure(
            tenant_id=made.tenant.id, slug="scripted", context_tokens=600, max_output_tokens=100
        )
    return made


def answered(acme: Organisation, session_id: UUID, said: Any) -> Turn:
    wanted = {"model": "assistant", "input": said, "tools": [LOOK], "background": True}
    body = ResponseIn.model_validate({**wanted, "conversation": name_of(CONVERSATION, session_id)})
    with tenant_scope(acme.tenant.id):
        turn = performed(services.response_submit(actor=acme.owner, asked=body.told())).turn
    tasks.turn_run(str(turn.id), str(acme.tenant.id))
    run_coroutine(host.idle())
    with tenant_scope(acme.tenant.id):
        return Turn.objects.get(id=turn.id)


def test_calls_and_outputs_go_into_the_summary_together_and_nothing_is_forgotten(acme, model):
    with tenant_scope(acme.tenant.id):
        session_id = session_services.session_create(actor=acme.owner).id
    calls = "calls: " + json.dumps([{"name": "look", "arguments": {}}])
    for number in range(8):
        assert answered(acme, session_id, calls).state == TurnState.COMPLETED
        found = f"#found{number} " + "and a little more " * 16
        output = {"type": "function_call_output", "call_id": "call_0", "output": found}
        assert answered(acme, session_id, [output]).state == TurnState.COMPLETED
    with tenant_scope(acme.tenant.id):
        summaries = list(Message.objects.filter(session_id=session_id).exclude(summary="").order_by("id"))
        items = selectors.conversation_items(actor=acme.owner, session_id=session_id)
    assert summaries
    asked = requests.get(f"{model}/_requests", timeout=60).json()["requests"]
    last = asked[-1]["body"]["messages"]
    told = orjson.dumps(last).decode()
    assert all(f"#found{number}" in told for number in range(8))
    for before, message in itertools.pairwise(last):
        if message["role"] == "tool":
            assert before["tool_calls"][0]["id"] == message["tool_call_id"]
    assert [item["type"] for item in items].count("function_call") == 8


def test_a_response_that_is_deleted_leaves_no_word_in_a_summary(acme):
    with tenant_scope(acme.tenant.id):
        session_id = session_services.session_create(actor=acme.owner).id
    turns = [
        answered(acme, session_id, f"say: #fact{number} " + "and a little more " * 12) for number in range(8)
    ]
    with tenant_scope(acme.tenant.id):
        messages = Message.objects.filter(session_id=session_id)
        assert "#fact0" in "".join(messages.values_list("summary", flat=True))
        services.response_delete(actor=acme.owner, turn_id=turns[0].id)
        kept = messages.values_list("text", "summary")
        assert not any("#fact0" in words for row in kept for words in row)
    after = answered(acme, session_id, "say: on")
    assert after.state == TurnState.COMPLETED
    first, answer, *_ = shown(acme, session_id)
    assert "This message was deleted." in first
    assert "This answer was deleted." in answer


def test_the_page_says_that_functions_were_asked_for(acme):
    with tenant_scope(acme.tenant.id):
        session_id = session_services.session_create(actor=acme.owner).id
    answered(acme, session_id, "calls: " + json.dumps([{"name": "look", "arguments": {}}]))
    _, answer = shown(acme, session_id)
    assert "to call functions" in answer


def shown(acme: Organisation, session_id: UUID) -> list[str]:
    """The session on the page, entry by entry."""
    with tenant_scope(acme.tenant.id):
        entries = transcript.transcript(actor=acme.owner, session_id=session_id).entries
        return [
            render_to_string(f"chat/{entry.kind}.html", {"entry": entry, "may_write": True})
            for entry in entries
        ]
