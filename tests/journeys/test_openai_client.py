"""A program written for OpenAI's API speaks with an agent: only its base URL and its key are ours."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
import requests
from pydantic import BaseModel

from tests.journeys.gateway import Model
from tests.journeys.openai_program import AGENT, another_tenant, user

pytestmark = pytest.mark.django_db(transaction=True)

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a town.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
    },
}


@pytest.fixture
def sooner_or_later() -> Callable[[Callable[[], Any]], Any]:
    def wait(look: Callable[[], Any]) -> Any:
        until = time.monotonic() + 10
        while not (found := look()):
            assert time.monotonic() < until, "it does not happen"
            time.sleep(0.05)
        return found

    return wait


def states(model: Model) -> list[str]:
    return [request["state"] for request in model.requests()]


def test_agents_are_models(client):
    listed = client.models.list()
    (ours,) = [model for model in listed if model.id == AGENT]
    assert ours.object == "model"
    assert abs(ours.created - time.time()) < 24 * 3600
    assert client.models.retrieve(AGENT) == ours


def test_an_agent_answers_with_its_instructions_first(gateway, client):
    slug, key = gateway.in_database(lambda: another_tenant(gateway.model.base_url))
    answer = client.with_options(api_key=key).chat.completions.create(
        model=slug,
        messages=[
            {"role": "developer", "content": "Speak English."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "say: one "}, {"type": "text", "text": "two"}],
            },
        ],
    )
    assert (answer.object, answer.model) == ("chat.completion", slug)
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == (
        "assistant",
        "one two",
        "stop",
    )
    assert choice.message.tool_calls is None
    assert answer.usage.completion_tokens == 2
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 2
    (asked,) = gateway.model.requests()
    assert asked["body"]["messages"] == [
        {"role": "system", "content": "Be terse."},
        {"role": "system", "content": "Speak English."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "say: one two"},
    ]


def test_an_answer_comes_in_chunks(client):
    chunks = list(
        client.chat.completions.create(
            model=AGENT,
            messages=user("slow 0.05: one two three"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    *said, usage = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == "one two three"
    assert [chunk.choices[0].finish_reason for chunk in said if chunk.choices[0].finish_reason] == ["stop"]
    assert sum(bool(chunk.choices[0].delta.content) for chunk in said) > 1
    assert (usage.choices, usage.usage.completion_tokens) == ([], 3)


def test_without_a_wish_for_it_a_stream_tells_no_usage(client):
    chunks = list(client.chat.completions.create(model=AGENT, messages=user("say: hi"), stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


async def test_the_asynchronous_client_does_the_same(gateway, key):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key) as client:
        assert AGENT in [model.id async for model in client.models.list()]
        whole = await client.chat.completions.create(model=AGENT, messages=user("say: here I am"))
        stream = await client.chat.completions.create(
            model=AGENT, messages=user("say: here I am"), stream=True
        )
        parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nobody")
    assert whole.choices[0].message.content == "".join(parts) == "here I am"


def test_the_caller_says_how_to_write(gateway, client):
    wishes = {
        "temperature": 0.3,
        "top_p": 0.8,
        "stop": ["END", "FIN"],
        "seed": 7,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "response_format": {"type": "json_object"},
    }
    client.chat.completions.create(model=AGENT, messages=user("say: {}"), max_tokens=5, user="u", **wishes)
    client.chat.completions.create(
        model=AGENT, messages=user("say: {}"), max_completion_tokens=10**6, stop="END"
    )
    first, second = [request["body"] for request in gateway.model.requests()]
    assert {name: first[name] for name in wishes} == wishes
    assert (first["max_tokens"], second["stop"]) == (5, ["END"])
    assert second["max_tokens"] == 1024, "the operator's limit stands"
    assert "user" not in first
    assert {"temperature", "response_format", "tools", "tool_choice"}.isdisjoint(second)


def test_an_answer_in_a_shape_of_the_caller_s(gateway, client):
    class Town(BaseModel):
        name: str

    answer = client.chat.completions.parse(
        model=AGENT, messages=user('say: {"name": "Soma"}'), response_format=Town
    )
    assert answer.choices[0].message.parsed == Town(name="Soma")
    (asked,) = gateway.model.requests()
    assert asked["body"]["response_format"]["json_schema"]["schema"]["required"] == ["name"]


def test_tools_are_handed_to_the_caller_and_their_results_come_back(gateway, client):
    told = "calls: " + json.dumps([{"name": "weather", "arguments": {"town": t}} for t in ("Rome", "Oslo")])
    conversation = user(told)
    first = client.chat.completions.create(
        model=AGENT,
        messages=conversation,
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=True,
    )
    (choice,) = first.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    calls = choice.message.tool_calls
    towns = [json.loads(call.function.arguments)["town"] for call in calls]
    assert [call.function.name for call in calls] == ["weather", "weather"]
    conversation.append(choice.message)
    conversation += [
        {"role": "tool", "tool_call_id": call.id, "content": f"{town}: fair"}
        for call, town in zip(calls, towns, strict=True)
    ]
    second = client.chat.completions.create(model=AGENT, messages=conversation, tools=[WEATHER])
    assert second.choices[0].message.content == "Rome: fair | Oslo: fair"
    assert second.choices[0].finish_reason == "stop"
    asked, again = [request["body"] for request in gateway.model.requests()]
    assert asked["tools"] == [WEATHER]
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert asked["parallel_tool_calls"] is True
    assert [message["role"] for message in again["messages"]][-4:] == ["user", "assistant", "tool", "tool"]


def test_tool_calls_are_streamed(client):
    told = "calls: " + json.dumps([{"name": "weather", "arguments": {"town": "Rome"}}])
    with client.chat.completions.stream(model=AGENT, messages=user(told), tools=[WEATHER]) as stream:
        message = stream.get_final_completion().choices[0]
    assert message.finish_reason == "tool_calls"
    (call,) = message.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"town": "Rome"})


def test_what_a_model_thinks_is_told_apart_and_comes_back_with_the_results_of_tools(gateway, client):
    conversation = user("ponder: " + json.dumps([{"name": "weather", "arguments": {"town": "Rome"}}]))
    first = client.chat.completions.create(
        model=AGENT, messages=conversation, tools=[WEATHER], reasoning_effort="low"
    )
    message = first.choices[0].message
    assert (message.content, message.reasoning_content) == (None, "Hm hm")
    conversation += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Rain"}]
    client.chat.completions.create(model=AGENT, messages=conversation, tools=[WEATHER])
    asked, again = [request["body"] for request in gateway.model.requests()]
    assert asked["reasoning_effort"] == "low"
    assert again["messages"][-2]["reasoning_content"] == "Hm hm"

    bare = [*user("say: hi"), {"role": "assistant", "content": "Hi", "reasoning_content": "Polite."}]
    client.chat.completions.create(model=AGENT, messages=[*bare, *user("say: ho")])
    assert gateway.model.requests()[-1]["body"]["messages"][-2]["reasoning_content"] == "Polite."


def test_what_a_model_thinks_is_streamed(client):
    chunks = list(client.chat.completions.create(model=AGENT, messages=user("think: Aha"), stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Let me see"
    assert "".join(delta.content or "" for delta in deltas) == "Aha"
    (state,) = [delta.reasoning_state for delta in deltas if getattr(delta, "reasoning_state", None)]
    assert state[0]["text"] == "Let me see"


def test_images_and_files_are_shown_to_the_model(gateway, client):
    parts = [
        {"type": "text", "text": "say: seen"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw==", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.jpg"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
    ]
    answer = client.chat.completions.create(model=AGENT, messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "seen"
    (asked,) = gateway.model.requests()
    assert asked["body"]["messages"][-1]["content"] == parts


@pytest.mark.parametrize("stream", [False, True])
def test_who_goes_away_stops_the_model(gateway, client, sooner_or_later, stream):
    told = user("slow 0.05: " + "word " * 400)
    if stream:
        with client.chat.completions.create(model=AGENT, messages=told, stream=True) as answer:
            next(chunk for chunk in answer if chunk.choices[0].delta.content)
            assert states(gateway.model) == ["open"]
    else:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.7).chat.completions.create(model=AGENT, messages=told)
    sooner_or_later(lambda: states(gateway.model) == ["disconnected"])


def test_completions_are_counted(gateway, client):
    def completed() -> float:
        lines = requests.get(f"{gateway.url}/metrics", timeout=60).text.splitlines()
        found = [line for line in lines if line.startswith('soma_completions_total{state="completed"}')]
        return float(found[0].split()[-1]) if found else 0.0

    before = completed()
    client.chat.completions.create(model=AGENT, messages=user("say: hi"))
    assert completed() == before + 1
