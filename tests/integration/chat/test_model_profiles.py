"""Turns that think, and models of other kinds, as a profile says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from django.conf import settings

from apps.chat import completions, stream
from apps.chat.models import Step, Turn, TurnState
from apps.chat.taps import Record
from apps.sessions.models import Protocol
from somaagent.agent.events import ReasoningDelta, RunCompleted
from somaagent.agent.messages import ModelMessage
from somaagent.agent.ports import ModelSettings, ToolSchema
from somaagent.agent.step_events import StepCompleted
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from tests import model_server
from tests.factories import organisation
from tests.integration.chat.scripted import answered, asked, change, profile, script

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with model_server.process() as url:
        yield url


@pytest.fixture(autouse=True)
def clean(server) -> None:
    requests.post(f"{server}/_reset", timeout=60).raise_for_status()


def events_of(turn: Turn) -> list[Record]:
    return run_coroutine(stream.read(turn.id, 0))


def test_what_the_model_thinks_is_in_the_turn_s_events_and_not_in_its_answer(server):
    acme = organisation("acme", model_url=f"{server}/v1")
    change(acme, reasoning_effort="high")
    turn = answered(acme, "think: Forty-two")
    assert (turn.state, turn.output_message.text) == (TurnState.COMPLETED, "Forty-two")
    thought = [record.values()["text"] for record in events_of(turn) if record.type == ReasoningDelta.type]
    assert "".join(thought) == "Let me see"
    [request] = asked(server)
    assert request["body"]["reasoning_effort"] == "high"
    with tenant_scope(acme.tenant.id):
        kept = StepCompleted.from_data(Step.objects.get(turn=turn).data)
    assert kept.message.reasoning[0].text == "Let me see"


def test_a_profile_of_anthropic_s_says_how_many_tokens_to_think(server):
    acme = organisation("acme")
    profile(
        acme,
        "scripted",
        protocol=Protocol.ANTHROPIC,
        base_url=server,
        thinking_tokens=2048,
        max_output_tokens=4096,
    )
    assert answered(acme, "think: Yes").output_message.text == "Yes"
    [request] = asked(server)
    assert request["body"]["thinking"] == {"type": "enabled", "budget_tokens": 2048}


def test_a_provider_in_its_own_protocol_answers_a_turn_with_the_key_of_its_secret(server):
    acme = organisation("acme")
    profile(
        acme,
        "scripted",
        protocol=Protocol.PYDANTIC_AI,
        base_url=server,
        model="google:scripted",
        secret_name="models/local",
        first_token_seconds=60,
    )
    assert answered(acme, "say: from Gemini").output_message.text == "from Gemini"
    [request] = asked(server)
    assert request["headers"]["x-goog-api-key"] == settings.SECRETS.read("models/local", "api_key")


def test_a_model_without_tools_is_asked_in_constrained_json(server):
    acme = organisation("acme", model_url=f"{server}/v1")
    change(acme, tool_calls="constrained")
    script(server, 'say: {"answer": "No town, no weather."}')
    request = completions.Asked(
        "assistant",
        [ModelMessage("user", "What is the weather?")],
        ModelSettings(),
        [ToolSchema("weather", "The weather in a town.", {"type": "object"})],
    )

    async def answer() -> str:
        events = await completions.begin(actor=acme.owner, asked=request)
        *_, done = [event async for event in events]
        assert isinstance(done, RunCompleted)
        return done.text

    assert run_coroutine(answer()) == "No town, no weather."
    [seen] = asked(server)
    assert seen["body"]["response_format"]["type"] == "json_schema"
