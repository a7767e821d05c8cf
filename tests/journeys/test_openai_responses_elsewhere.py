"""Responses begun on one gateway and followed on another, answered by a worker, or taken over by it."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest

from tests.journeys.gateway import another_gateway
from tests.journeys.openai_program import AGENT

pytestmark = pytest.mark.django_db(transaction=True)

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def elsewhere(neighbour, key) -> openai.OpenAI:
    """The same program, with another gateway of the same house."""
    return openai.OpenAI(base_url=f"{neighbour}/v1", api_key=key, max_retries=0)


def ended(client: openai.OpenAI, response_id: str) -> Any:
    until = time.monotonic() + 60
    while (response := client.responses.retrieve(response_id)).status in {"queued", "in_progress"}:
        assert time.monotonic() < until, "it does not end"
        time.sleep(0.1)
    return response


def test_a_worker_answers_in_the_background_with_all_that_was_asked(gateway, client, worker):
    told = "calls: " + json.dumps([{"name": "weather", "arguments": {"town": "Rome"}}])
    asked = client.responses.create(
        model=AGENT, input=told, instructions="Be kind.", tools=[WEATHER], temperature=0.3, background=True
    )
    assert (asked.status, asked.output) == ("queued", [])
    first = ended(client, asked.id)
    assert first.status == "completed"
    (call,) = first.output
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "fair"}
    events = list(
        client.responses.create(
            model=AGENT, previous_response_id=first.id, input=[output], background=True, stream=True
        )
    )
    assert [event.type for event in events[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    assert (events[-1].type, events[-1].response.output_text) == ("response.completed", "fair")
    # The worker may have been left something by others: what this story asked has its town.
    bodies = [request["body"] for request in gateway.model.requests()]
    begun, again = [body for body in bodies if "Rome" in str(body["messages"])]
    assert begun["messages"][0] == {"role": "system", "content": "Be kind."}
    assert (begun["temperature"], begun["tools"][0]["function"]["name"]) == (0.3, "weather")
    assert [message["role"] for message in again["messages"]] == ["user", "assistant", "tool"]


def test_a_response_is_followed_on_another_gateway(client, elsewhere):
    words = " ".join(f"w{number}" for number in range(40))
    seen = []
    with client.responses.create(model=AGENT, input=f"slow 0.05: {words}", stream=True) as stream:
        for event in stream:
            seen.append(event)
            if len(seen) == 8:
                break
    rest = list(
        elsewhere.responses.retrieve(
            seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number
        )
    )
    numbers = [event.sequence_number for event in [*seen, *rest]]
    assert numbers == list(range(len(numbers)))
    told = "".join(e.delta for e in [*seen, *rest] if e.type == "response.output_text.delta")
    assert told == rest[-1].response.output_text == words
    follows = elsewhere.responses.create(
        model=AGENT, previous_response_id=seen[0].response.id, input="say: more"
    )
    assert follows.output_text == "more"


def test_what_a_gateway_leaves_at_its_end_a_worker_goes_on_with(
    client, gateway, stack, key, worker, tmp_path
):
    words = " ".join(f"w{number}" for number in range(40))
    seen = []
    with another_gateway(gateway, stack, tmp_path) as url:
        leaving = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        for event in leaving.responses.create(model=AGENT, input=f"slow 0.1: {words}", stream=True):
            seen.append(event)
            if len(seen) == 8:
                break
    rest = list(
        client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
    )
    numbers = [event.sequence_number for event in [*seen, *rest]]
    assert numbers == list(range(len(numbers)))
    told = "".join(e.delta for e in [*seen, *rest] if e.type == "response.output_text.delta")
    assert told == rest[-1].response.output_text == words
    assert len(gateway.model.requests()) == 2, "another host asked anew"
