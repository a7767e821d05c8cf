"""Stories of one model call in Anthropic's protocol, over HTTP."""

from __future__ import annotations

from dataclasses import replace

import pytest

from somaagent.agent.messages import ModelMessage, ToolCall, Usage
from somaagent.agent.models.anthropic import Anthropic
from somaagent.agent.models.openai_compatible import OpenAICompatible
from somaagent.agent.ports import FinishChunk, ModelSettings, TextChunk, ToolCallChunk, ToolSchema
from somaagent.errors import SomaError
from tests.unit.agent.conftest import KEY, Bench, finish_of, text_of
from tests.unit.agent.raw import raw_server, speak


@pytest.fixture
def bench(bench: Bench) -> Bench:
    return replace(bench, adapter=Anthropic)


async def test_a_model_streams_its_answer_word_by_word_and_says_what_it_used(bench: Bench):
    chunks = await bench.ask("slow 0.05: Hello wide world")
    assert [chunk.text for chunk in chunks if isinstance(chunk, TextChunk)] == ["Hello", " wide", " world"]
    # What the API counts apart, as read from its cache, is part of the input here.
    assert finish_of(chunks) == FinishChunk("stop", Usage(input_tokens=5, cached_tokens=2, output_tokens=3))


async def test_the_request_carries_the_conversation_the_settings_and_the_tools(bench: Bench):
    both = (ToolCall("call_7", "look_up", '{"word": "Soma"}'), ToolCall("call_8", "look_up", "not JSON"))
    messages = [
        ModelMessage("system", "Be brief."),
        ModelMessage("user", "say: fine"),
        ModelMessage("assistant", "", both),
        ModelMessage("tool", "a body", tool_call_id="call_7"),
        ModelMessage("tool", "Error: not JSON", tool_call_id="call_8"),
    ]
    tool = ToolSchema("look_up", "Finds a word.", {"type": "object"})
    settings = ModelSettings(temperature=0.5, top_p=0.9, max_output_tokens=64, stop=("END",))
    _ = [chunk async for chunk in bench.model().stream(messages, tools=[tool], settings=settings)]

    [seen] = await bench.requests()
    assert seen["headers"]["x-api-key"] == KEY
    assert seen["headers"]["anthropic-version"] == "2023-06-01"
    assert "Authorization" not in seen["headers"]
    use = {"type": "tool_use", "id": "call_7", "name": "look_up", "input": {"word": "Soma"}}
    assert seen["body"] == {
        "model": "scripted",
        "max_tokens": 64,
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "say: fine"}]},
            {
                "role": "assistant",
                "content": [use, use | {"id": "call_8", "input": {"unreadable": "not JSON"}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_7", "content": "a body"},
                    {"type": "tool_result", "tool_use_id": "call_8", "content": "Error: not JSON"},
                ],
            },
        ],
        "stream": True,
        "tools": [
            {"name": "look_up", "description": "Finds a word.", "input_schema": {"type": "object"}},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["END"],
    }


async def test_a_conversation_that_the_protocol_would_refuse_is_put_right(bench: Bench):
    messages = [
        ModelMessage("assistant", "As I was saying."),
        ModelMessage("user", "say: one"),
        ModelMessage("assistant", " "),
        ModelMessage("user", "say: two"),
    ]
    chunks = [chunk async for chunk in bench.model().stream(messages, settings=ModelSettings())]
    assert text_of(chunks)
    [seen] = await bench.requests()
    assert [message["role"] for message in seen["body"]["messages"]] == ["user", "assistant", "user"]
    assert [part["text"] for part in seen["body"]["messages"][2]["content"]] == ["say: one", "say: two"]
    assert seen["body"]["max_tokens"] > 0


async def test_tool_calls_arrive_in_pieces_and_leave_whole(bench: Bench):
    chunks = await bench.ask(
        'calls: [{"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": "not JSON"}]'
    )
    assert [chunk.call for chunk in chunks if isinstance(chunk, ToolCallChunk)] == [
        ToolCall("call_0", "a", '{"x": 1}'),
        ToolCall("call_1", "b", "not JSON"),
    ]
    assert finish_of(chunks).reason == "tool_calls"


async def test_a_server_that_does_not_stream_is_understood(bench: Bench):
    chunks = await bench.ask("whole: All of it at once")
    assert text_of(chunks) == "All of it at once"
    assert finish_of(chunks) == FinishChunk("stop", Usage(6, 3, 5))


async def test_thinking_is_not_part_of_the_answer(bench: Bench):
    assert text_of(await bench.ask("think: Forty-two")) == "Forty-two"


async def test_the_base_url_may_name_the_version(bench: Bench):
    for address in (bench.url, f"{bench.url}/", f"{bench.url}/v1", f"{bench.url}/v1/"):
        assert text_of(await bench.ask("say: here", base_url=address)) == "here"


async def test_one_connection_serves_one_answer_after_the_other(bench: Bench):
    for _ in range(3):
        await bench.ask("say: hello")
    assert len({seen["peer"] for seen in await bench.requests()}) == 1


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (b'{"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}', "model_failed"),
        (b'{"type": "error", "error": {"type": "rate_limit_error", "message": "No"}}', "model_rate_limited"),
        (
            b'{"type": "error", "error": {"type": "invalid_request_error", "message": "No"}}',
            "model_refused_request",
        ),
        (b'{"type": "content_block_start", "index": 0}', "model_garbled"),
        (b'{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}}', "model_garbled"),
        (
            b'{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 7}}',
            "model_garbled",
        ),
        (b'{"choices": []}', "model_garbled"),
    ],
)
async def test_errors_in_the_stream_and_wrong_shapes_have_their_codes(bench: Bench, event: bytes, code: str):
    async with raw_server(speak(b"data: " + event + b"\n\n", 1000)) as url:
        with pytest.raises(SomaError) as caught:
            await bench.ask("anything", base_url=url)
    assert caught.value.code == code


async def test_kinds_of_events_that_are_still_to_come_are_passed_over(bench: Bench):
    events = [
        b'{"type": "message_start", "message": {"usage": {"input_tokens": 3, "service_tier": "standard"}}}',
        b'{"type": "content_block_start", "index": 0, "content_block": {"type": "dance"}}',
        b'{"type": "content_block_delta", "index": 0, "delta": {"type": "step", "step": "left"}}',
        b'{"type": "applause"}',
        b'{"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Done."}}',
        b'{"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 2}}',
        b'{"type": "message_stop"}',
    ]
    body = b"".join(b"data: " + event + b"\n\n" for event in events)
    async with raw_server(speak(body, 7)) as url:
        chunks = await bench.ask("anything", base_url=url)
    assert chunks == [TextChunk("Done."), FinishChunk("length", Usage(input_tokens=3, output_tokens=2))]


async def test_an_address_of_the_other_protocol_says_so(bench: Bench):
    other = replace(bench, adapter=OpenAICompatible)
    with pytest.raises(SomaError) as caught:
        await other.ask("say: hello", base_url=bench.url)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("wished", "told"),
    [
        (ModelSettings(tool_choice="auto"), {"type": "auto"}),
        (ModelSettings(tool_choice="required"), {"type": "any"}),
        (ModelSettings(tool_choice="none", parallel_tool_calls=False), {"type": "none"}),
        (ModelSettings(parallel_tool_calls=False), {"type": "auto", "disable_parallel_tool_use": True}),
        (
            ModelSettings(tool_choice={"type": "function", "function": {"name": "look_up"}}),
            {"type": "tool", "name": "look_up"},
        ),
    ],
)
async def test_which_tool_the_model_may_call_is_said_in_its_own_words(bench: Bench, wished, told):
    tool = ToolSchema("look_up", "Finds a word.", {"type": "object"})
    messages = [ModelMessage("user", "say: fine")]
    _ = [chunk async for chunk in bench.model().stream(messages, tools=[tool], settings=wished)]
    [seen] = await bench.requests()
    assert seen["body"]["tool_choice"] == told


@pytest.mark.parametrize(
    ("wish", "settings"),
    [
        ("seed", ModelSettings(seed=1)),
        ("presence_penalty", ModelSettings(presence_penalty=1.0)),
        ("frequency_penalty", ModelSettings(frequency_penalty=1.0)),
        ("response_format", ModelSettings(response_format={"type": "json_object"})),
    ],
)
async def test_a_wish_that_the_protocol_has_no_word_for_is_refused_and_not_dropped(
    bench: Bench, wish: str, settings: ModelSettings
):
    with pytest.raises(SomaError, match=wish) as refused:
        _ = [chunk async for chunk in bench.model().stream([ModelMessage("user", "hi")], settings=settings)]
    assert refused.value.code == "model_refused_request"
    assert await bench.requests() == []
