"""A program written for OpenAI's responses has conversations: responses follow each other, with functions."""

from __future__ import annotations

import json
from uuid import UUID

import openai
import pytest

from tests.client import Client
from tests.journeys.openai_program import AGENT, WEATHER, another_tenant, asks_for_weather, outputs_of, told

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_responses_follow_the_same_one(gateway, client):
    first = client.responses.create(model=AGENT, input="say: first")
    for word in ("left", "right"):
        client.responses.create(model=AGENT, previous_response_id=first.id, input=f"say: {word}")
    left, right = told(gateway)[1:]
    assert [message["content"] for message in left] == ["say: first", "first", "say: left"]
    assert [message["content"] for message in right] == ["say: first", "first", "say: right"]


def test_two_that_follow_one_at_the_same_time_wait_for_each_other(gateway, client):
    first = client.responses.create(model=AGENT, input="say: first")
    events = client.responses.create(
        model=AGENT, previous_response_id=first.id, input="slow 0.1: a b c d e f", stream=True
    )
    next(iter(events))
    second = client.responses.create(model=AGENT, previous_response_id=first.id, input="say: second")
    assert second.output_text == "second"
    assert list(events)[-1].response.output_text == "a b c d e f"
    assert [message["content"] for message in told(gateway)[-1]] == ["say: first", "first", "say: second"]


def test_a_conversation_is_a_session_that_goes_on_everywhere(gateway, client, key):
    conversation = client.conversations.create()
    client.responses.create(
        model=AGENT, conversation=conversation.id, input=asks_for_weather("Rome"), tools=[WEATHER]
    )
    session_id = str(UUID(conversation.id.removeprefix("conv_")))
    people = Client(gateway.url, key)
    turn = people.submit("say: hello", session_id=session_id)
    assert people.finished(turn["id"])["output"] == "hello"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(f"resp_{UUID(turn['id']).hex}")
    client.responses.create(model=AGENT, conversation=conversation.id, input="say: bye")
    assert [(message["role"], message["content"]) for message in told(gateway)[-1]] == [
        ("user", asks_for_weather("Rome")),
        ("user", "say: hello"),
        ("assistant", "hello"),
        ("user", "say: bye"),
    ], "calls that nobody answered are not told"


def test_functions_are_the_caller_s_to_run(gateway, client):
    first = client.responses.create(
        model=AGENT,
        input=asks_for_weather("Rome", "Oslo"),
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
    )
    assert [(item.type, item.name, item.status) for item in first.output] == [
        ("function_call", "weather", "completed")
    ] * 2
    assert (first.status, first.output_text) == ("completed", "")
    assert client.responses.retrieve(first.id) == first
    second = client.responses.create(
        model=AGENT,
        previous_response_id=first.id,
        input=outputs_of(first),
        tools=[WEATHER],
    )
    assert second.output_text == "Rome: fair | Oslo: fair"
    client.responses.create(model=AGENT, previous_response_id=second.id, input="say: thanks")
    asked, again, last = [request["body"] for request in gateway.model.requests()]
    assert asked["tools"][0]["function"]["name"] == "weather"
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert [message["role"] for message in again["messages"]] == ["user", "assistant", "tool", "tool"]
    assert [message["role"] for message in last["messages"]][4:] == ["assistant", "user"]
    assert "tools" not in last
    kinds = [item.type for item in client.responses.input_items.list(second.id, order="asc")]
    assert kinds == ["function_call_output"] * 2


def test_function_calls_are_streamed(client):
    with client.responses.stream(model=AGENT, input=asks_for_weather("Rome"), tools=[WEATHER]) as stream:
        kinds = [event.type for event in stream]
        (call,) = stream.get_final_response().output
    assert json.loads(call.arguments) == {"town": "Rome"}
    assert "response.function_call_arguments.done" in kinds


def test_calls_and_outputs_belong_together(client):
    first = client.responses.create(model=AGENT, input=asks_for_weather("Rome"), tools=[WEATHER])
    with pytest.raises(openai.BadRequestError) as missing:
        client.responses.create(model=AGENT, previous_response_id=first.id, input="say: hi")
    assert missing.value.code == "function_call_output_missing"
    stray = {"type": "function_call_output", "call_id": "call_of_nobody", "output": "x"}
    with pytest.raises(openai.BadRequestError) as unknown:
        client.responses.create(model=AGENT, input=[stray])
    assert (unknown.value.code, unknown.value.param) == ("function_call_not_found", "input[0].call_id")


def test_a_conversation_holds_what_is_said(gateway, client):
    conversation = client.conversations.create()
    assert client.conversations.retrieve(conversation.id) == conversation
    first = client.responses.create(
        model=AGENT, conversation=conversation.id, input=asks_for_weather("Rome"), tools=[WEATHER]
    )
    assert first.conversation.id == conversation.id
    client.responses.create(
        model=AGENT, conversation={"id": conversation.id}, input=outputs_of(first), tools=[WEATHER]
    )
    client.responses.create(model=AGENT, conversation=conversation.id, input="say: bye")
    items = list(client.conversations.items.list(conversation.id, order="asc", limit=4))
    assert [item.type for item in items] == [
        "message",
        "function_call",
        "function_call_output",
        "message",
        "message",
        "message",
    ]
    assert [item.content[0].text for item in items[3:]] == ["Rome: fair", "say: bye", "bye"]
    assert [message["role"] for message in told(gateway)[-1]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert client.conversations.delete(conversation.id).deleted
    for gone in (
        lambda: client.conversations.retrieve(conversation.id),
        lambda: client.responses.retrieve(first.id),
    ):
        with pytest.raises(openai.NotFoundError):
            gone()


def test_a_busy_conversation_is_locked(gateway, client):
    conversation = client.conversations.create()
    stream = client.responses.create(
        model=AGENT, conversation=conversation.id, input="slow 0.1: a b c d e f g h i j k l", stream=True
    )
    running = next(iter(stream)).response
    with pytest.raises(openai.ConflictError) as locked:
        client.responses.create(model=AGENT, conversation=conversation.id, input="say: hi")
    assert locked.value.code == "conversation_locked"
    with pytest.raises(openai.ConflictError) as unfinished:
        client.responses.create(model=AGENT, previous_response_id=running.id, input="say: hi")
    assert unfinished.value.code == "response_in_progress"
    assert client.responses.cancel(running.id).status == "cancelled"


def test_who_answers_has_to_be_known_and_to_stay(gateway, client):
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(model="nobody", input="say: hi")
    assert unknown.value.code == "model_not_found"
    slug, key = gateway.in_database(lambda: another_tenant(gateway.model.base_url))
    rival = client.with_options(api_key=key)
    conversation = rival.conversations.create()
    first = rival.responses.create(model=slug, input="say: hi", conversation=conversation.id)
    assert told(gateway)[-1][0] == {"role": "system", "content": "Be terse."}
    for facts in ({"previous_response_id": first.id}, {"conversation": conversation.id}):
        with pytest.raises(openai.BadRequestError) as differs:
            rival.responses.create(model=AGENT, input="say: hi", **facts)
        assert (differs.value.code, differs.value.param) == ("model_differs", "model")
