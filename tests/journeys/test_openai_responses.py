"""A program written for OpenAI's responses: they are kept, followed, resumed, stopped and deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import openai
import pytest
import requests
from pydantic import BaseModel

from tests.client import Client
from tests.journeys.openai_program import (
    AGENT,
    WEATHER,
    another_tenant,
    asks_for_weather,
    key_that_only_reads,
    told,
)

pytestmark = pytest.mark.django_db(transaction=True)

PART = "input[0].message.content"


@pytest.fixture
def sooner_or_later() -> Callable[[Callable[[], Any]], Any]:
    def wait(look: Callable[[], Any]) -> Any:
        until = time.monotonic() + 20
        while not (found := look()):
            assert time.monotonic() < until, "it does not happen"
            time.sleep(0.05)
        return found

    return wait


def test_a_response_is_kept(gateway, client):
    made = client.responses.create(model=AGENT, input="say: one two", metadata={"trip": "7"}, user="u")
    assert (made.object, made.status, made.model, made.output_text) == (
        "response",
        "completed",
        AGENT,
        "one two",
    )
    assert made.id.startswith("resp_")
    assert (made.metadata, made.error, made.incomplete_details) == ({"trip": "7"}, None, None)
    assert made.usage.output_tokens == 2
    assert made.usage.total_tokens == made.usage.input_tokens + 2
    assert made.usage.input_tokens_details.cached_tokens == 1
    assert made.usage.output_tokens_details.reasoning_tokens == 0
    assert client.responses.retrieve(made.id) == made
    (item,) = client.responses.input_items.list(made.id)
    assert (item.type, item.role, item.content[0].text) == ("message", "user", "say: one two")


async def test_the_asynchronous_client_does_the_same(gateway, key):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key) as client:
        whole = await client.responses.create(model=AGENT, input="say: here I am")
        stream = await client.responses.create(model=AGENT, input="say: here I am", stream=True)
        events = [event async for event in stream]
        again = [event async for event in await client.responses.retrieve(events[0].response.id, stream=True)]
    assert whole.output_text == events[-1].response.output_text == "here I am"
    assert again == events


def test_an_answer_comes_in_events(client):
    events = list(client.responses.create(model=AGENT, input="slow 0.05: one two three", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type.removeprefix("response.") for event in events]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 1
    assert [kind for kind in kinds if kind != "output_text.delta"] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert "".join(deltas) == "one two three"
    last = events[-1].response
    assert (last.status, last.output_text, last.usage.output_tokens) == ("completed", "one two three", 3)
    assert client.responses.retrieve(last.id) == last


def test_a_stream_is_gone_on_with_from_a_number(client):
    seen = []
    with client.responses.create(
        model=AGENT, input="slow 0.05: a b c d e f g h", background=False, stream=True
    ) as stream:
        for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta":
                break
    response_id = seen[0].response.id
    rest = list(client.responses.retrieve(response_id, stream=True, starting_after=seen[-1].sequence_number))
    assert [event.sequence_number for event in [*seen, *rest]] == list(range(len(seen) + len(rest)))
    assert rest[-1].response.output_text == "a b c d e f g h"
    assert list(client.responses.retrieve(response_id, stream=True)) == [*seen, *rest]
    assert list(client.responses.retrieve(response_id, stream=True, starting_after=10_000)) == []
    with client.responses.stream(response_id=response_id, starting_after=3) as helper:
        assert helper.get_final_response().output_text == "a b c d e f g h"


def test_events_that_are_no_longer_kept_are_told_from_the_rows(gateway, client):
    whole = list(
        client.responses.create(model=AGENT, input=asks_for_weather("Rome"), tools=[WEATHER], stream=True)
    )
    done = whole[-1].response
    gateway.in_database(lambda: forget_events(done.id))
    assert list(client.responses.retrieve(done.id, stream=True)) == whole
    (last,) = client.responses.retrieve(done.id, stream=True, starting_after=4)
    assert (last.type, last.sequence_number, last.response) == ("response.completed", 5, done)


def forget_events(response_id: str) -> None:
    """What a day does."""
    from apps.chat import stream  # noqa: PLC0415 - Django is not configured before

    stream.forget(UUID(response_id.removeprefix("resp_")), "nobody")


def test_instructions_and_wishes_are_for_one_response(gateway, client):
    first = client.responses.create(
        model=AGENT,
        instructions="Speak English.",
        input=[
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": [{"type": "input_text", "text": "say: one"}]},
        ],
        temperature=0.3,
        top_p=0.8,
        max_output_tokens=5,
        reasoning={"effort": "low"},
    )
    second = client.responses.create(model=AGENT, previous_response_id=first.id, input="say: two")
    asked, again = [request["body"] for request in gateway.model.requests()]
    earlier = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "say: one"},
    ]
    assert asked["messages"] == [{"role": "system", "content": "Speak English."}, *earlier]
    assert (asked["temperature"], asked["top_p"], asked["max_tokens"]) == (0.3, 0.8, 5)
    assert again["messages"] == [
        *earlier,
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "say: two"},
    ]
    assert (asked["reasoning_effort"], first.reasoning.effort) == ("low", "low")
    assert {"temperature", "reasoning_effort"}.isdisjoint(again)
    assert (first.instructions, first.temperature, first.max_output_tokens) == ("Speak English.", 0.3, 5)
    assert (second.previous_response_id, second.instructions) == (first.id, None)
    assert len(list(client.responses.input_items.list(first.id, limit=2, order="asc"))) == 4


def test_images_and_files_pass_through(gateway, client):
    pixel = "data:image/png;base64,iVBORw0KGgo="
    first = client.responses.create(
        model=AGENT,
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "say: seen"},
                    {"type": "input_image", "image_url": pixel, "detail": "low"},
                    {"type": "input_image", "image_url": "https://example.com/a.png"},
                    {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGk="},
                ],
            }
        ],
    )
    client.responses.create(model=AGENT, previous_response_id=first.id, input="say: again")
    asked, again = told(gateway)
    assert asked[0]["content"][1] == {"type": "image_url", "image_url": {"url": pixel, "detail": "low"}}
    assert asked[0]["content"][2]["image_url"]["url"] == "https://example.com/a.png"
    assert asked[0]["content"][3]["file"]["filename"] == "a.txt"
    assert again[0] == asked[0]
    (item,) = client.responses.input_items.list(first.id)
    assert [part.type for part in item.content] == ["input_text", "input_image", "input_image", "input_file"]


def test_a_response_is_tried_again_with_its_wishes(gateway, client, key):
    gateway.model.script("fail 500")
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model=AGENT, input="say: hi", instructions="Be kind.", temperature=0.3)
    people = Client(gateway.url, key)
    (failed, *_) = people.get("/turns").json()["items"]
    again = people.post(f"/turns/{failed['id']}/retry").json()
    assert people.finished(again["id"])["output"] == "hi"
    response = client.responses.retrieve(f"resp_{UUID(again['id']).hex}")
    assert (response.output_text, response.instructions) == ("hi", "Be kind.")
    first, second = [request["body"] for request in gateway.model.requests()]
    assert first == second


def test_an_answer_in_a_shape_of_the_caller_s(gateway, client):
    class Town(BaseModel):
        name: str

    answer = client.responses.parse(model=AGENT, input='say: {"name": "Soma"}', text_format=Town)
    assert answer.output_parsed == Town(name="Soma")
    (asked,) = gateway.model.requests()
    schema = asked["body"]["response_format"]["json_schema"]
    assert (schema["name"], schema["strict"], schema["schema"]["required"]) == ("Town", True, ["name"])


def test_a_response_is_stopped(gateway, client, sooner_or_later):
    stream = client.responses.create(model=AGENT, input="slow 0.1: " + "word " * 200, stream=True)
    begun = next(iter(stream)).response
    sooner_or_later(lambda: client.responses.retrieve(begun.id).status == "in_progress")
    next(event for event in stream if event.type == "response.output_text.delta")
    stopped = client.responses.cancel(begun.id)
    assert stopped.status == "cancelled"
    (item,) = stopped.output
    assert item.status == "incomplete"
    assert item.content[0].text.startswith("word")
    rest = list(stream)
    assert (rest[-1].type, rest[-1].response.status) == ("response.incomplete", "cancelled")
    assert client.responses.cancel(begun.id) == stopped
    assert [request["state"] for request in gateway.model.requests()] == ["disconnected"]


def test_what_is_over_cannot_be_stopped(client):
    done = client.responses.create(model=AGENT, input="say: hi")
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.cancel(done.id)
    assert refused.value.code == "response_ended"


def test_an_answer_that_is_cut_short_is_incomplete(gateway, client):
    gateway.model.script("limit: one two")
    cut = client.responses.create(model=AGENT, input="Tell me", max_output_tokens=2)
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert cut.output[0].status == "incomplete"
    gateway.model.script("limit: one two")
    last = list(client.responses.create(model=AGENT, input="Tell me", stream=True))[-1]
    assert (last.type, last.response.status) == ("response.incomplete", "incomplete")


def test_a_model_that_fails(client):
    with pytest.raises(openai.InternalServerError) as failed:
        client.responses.create(model=AGENT, input="fail 500")
    assert failed.value.code == "model_failed"
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model=AGENT, input="fail 429")
    last = list(client.responses.create(model=AGENT, input="cut after 2", stream=True))[-1]
    assert (last.type, last.response.status, last.response.error.code) == (
        "response.failed",
        "failed",
        "server_error",
    )
    assert client.responses.retrieve(last.response.id) == last.response


def test_what_is_not_stored_is_gone(gateway, client):
    kept = client.responses.create(model=AGENT, input="say: first")
    passing = client.responses.create(
        model=AGENT, previous_response_id=kept.id, input="say: hi", instructions="Be brief.", store=False
    )
    assert (passing.status, passing.output_text, passing.store) == ("completed", "hi", False)
    assert [message["content"] for message in told(gateway)[-1]] == [
        "Be brief.",
        "say: first",
        "first",
        "say: hi",
    ]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(passing.id)
    with pytest.raises(openai.NotFoundError) as missing:
        client.responses.create(model=AGENT, previous_response_id=passing.id, input="say: hi")
    assert missing.value.code == "previous_response_not_found"
    events = list(client.responses.create(model=AGENT, input="say: hi there", store=False, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == "hi there"
    failed, stored = (
        list(client.responses.create(model=AGENT, input="cut after 2", store=store, stream=True))[-1]
        for store in (False, True)
    )
    assert failed.type == stored.type == "response.failed"
    assert failed.response.usage == stored.response.usage
    assert failed.response.usage.output_tokens > 0
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model=AGENT, input="fail 500", store=False)


def test_a_deleted_response_is_gone_and_the_conversation_goes_on(gateway, client):
    first = client.responses.create(model=AGENT, input="say: a secret")
    second = client.responses.create(model=AGENT, previous_response_id=first.id, input="say: two")
    client.responses.delete(first.id)
    for gone in (
        lambda: client.responses.retrieve(first.id),
        lambda: client.responses.delete(first.id),
        lambda: list(client.responses.input_items.list(first.id)),
        lambda: list(client.responses.retrieve(first.id, stream=True)),
        lambda: client.responses.create(model=AGENT, previous_response_id=first.id, input="say: hi"),
    ):
        with pytest.raises(openai.NotFoundError):
            gone()
    client.responses.create(model=AGENT, previous_response_id=second.id, input="say: three")
    assert [message["content"] for message in told(gateway)[-1]] == ["say: two", "two", "say: three"]
    assert gateway.in_database(lambda: kept_texts("a secret")) == []


def kept_texts(words: str) -> list[str]:
    from apps.sessions.models import Message, Session  # noqa: PLC0415 - Django is not configured before
    from somaagent.tenancy.models import Tenant  # noqa: PLC0415 - as above
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    with tenant_scope(Tenant.objects.order_by("id")[0].id):
        texts = list(Message.objects.filter(text__contains=words).values_list("text", flat=True))
        return texts + list(Session.objects.filter(title__contains=words).values_list("title", flat=True))


def test_a_response_with_nothing_after_it_takes_its_session_along(gateway, client):
    alone = client.responses.create(model=AGENT, input="say: all alone")
    client.responses.delete(alone.id)
    assert gateway.in_database(lambda: kept_texts("all alone")) == []


def test_a_running_response_is_deleted(gateway, client, sooner_or_later):
    stream = client.responses.create(model=AGENT, input="slow 0.1: " + "word " * 200, stream=True)
    begun = next(iter(stream)).response
    next(event for event in stream if event.type == "response.output_text.delta")
    assert [request["state"] for request in gateway.model.requests()] == ["open"]
    client.responses.delete(begun.id)
    sooner_or_later(lambda: gateway.model.requests()[0]["state"] == "disconnected")


def test_the_same_request_twice_is_one_response(client):
    key = {"Idempotency-Key": f"once-{time.monotonic_ns()}"}
    first = client.responses.create(model=AGENT, input="say: once", extra_headers=key)
    again = client.responses.create(model=AGENT, input="say: once", extra_headers=key)
    assert again == first
    with pytest.raises(openai.BadRequestError) as reused:
        client.responses.create(model=AGENT, input="say: twice", extra_headers=key)
    assert reused.value.code == "idempotency_key_reused"


def test_what_is_another_s_does_not_exist(gateway, client):
    mine = client.responses.create(model=AGENT, input="say: mine")
    conversation = client.conversations.create()
    slug, foreign_key = gateway.in_database(lambda: another_tenant(gateway.model.base_url))
    colleague = gateway.newcomer(one_time=False).api_key
    for key, agent in ((foreign_key, slug), (colleague, AGENT)):
        other = client.with_options(api_key=key)
        for forbidden in (
            lambda other=other: other.responses.retrieve(mine.id),
            lambda other=other: other.responses.retrieve(mine.id, stream=True),
            lambda other=other: other.responses.cancel(mine.id),
            lambda other=other: other.responses.delete(mine.id),
            lambda other=other: other.responses.input_items.list(mine.id),
            lambda other=other: other.conversations.retrieve(conversation.id),
            lambda other=other: other.conversations.items.list(conversation.id),
            lambda other=other: other.conversations.delete(conversation.id),
            lambda other=other, agent=agent: other.responses.create(
                model=agent, input="say: hi", previous_response_id=mine.id
            ),
            lambda other=other, agent=agent: other.responses.create(
                model=agent, input="say: hi", previous_response_id=mine.id, store=False
            ),
            lambda other=other, agent=agent: other.responses.create(
                model=agent, input="say: hi", conversation=conversation.id
            ),
        ):
            with pytest.raises(openai.NotFoundError):
                forbidden()
    assert client.responses.retrieve(mine.id) == mine


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"truncation": "disabled"}, None),
        ({"store": False, "background": True}, None),
        ({"previous_response_id": "resp_x", "conversation": "conv_x"}, None),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, PART),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, PART),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"tool_choice": "required"}, None),
        ({"metadata": {"key": "x" * 513}}, "metadata.key"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(client, wishes, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**({"model": AGENT, "input": "say: hi"} | wishes))
    assert refused.value.param == param


def test_who_may_only_read_writes_nothing(gateway, client):
    reader = client.with_options(api_key=gateway.in_database(key_that_only_reads))
    with pytest.raises(openai.PermissionDeniedError):
        reader.responses.create(model=AGENT, input="say: hi")
    assert requests.get(f"{gateway.url}/v1/responses/resp_1", timeout=60).status_code == 401


def test_a_worker_answers_in_the_background(client, sooner_or_later, gateway):
    """Without one, here, it waits in the queue: ``test_responses_elsewhere`` has a worker."""
    queued = client.responses.create(model=AGENT, input="say: hi", background=True)
    assert (queued.status, queued.background, queued.output) == ("queued", True, [])
    assert client.responses.retrieve(queued.id).status == "queued"
    assert client.responses.cancel(queued.id).status == "cancelled"
    kinds = [event.type for event in client.responses.retrieve(queued.id, stream=True)]
    assert kinds == ["response.created", "response.queued", "response.incomplete"]
