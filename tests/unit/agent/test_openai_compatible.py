"""Stories of one model call, over HTTP, with a server that behaves well and badly."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from somaagent.agent.messages import ModelMessage, ToolCall, Usage
from somaagent.agent.models.connection import Timeouts
from somaagent.agent.ports import FinishChunk, ModelSettings, TextChunk, ToolCallChunk, ToolSchema
from somaagent.errors import SomaError
from tests.unit.agent.conftest import KEY, Bench, finish_of, text_of
from tests.unit.agent.raw import close, raw_server, speak


async def test_a_model_streams_its_answer_word_by_word_and_says_what_it_used(bench: Bench):
    chunks = await bench.ask("slow 0.05: Hello wide world")
    assert [chunk.text for chunk in chunks if isinstance(chunk, TextChunk)] == ["Hello", " wide", " world"]
    assert finish_of(chunks) == FinishChunk("stop", Usage(input_tokens=5, cached_tokens=2, output_tokens=3))


async def test_the_request_carries_the_conversation_the_settings_and_the_tools(bench: Bench):
    call = ToolCall("call_7", "look_up", '{"word": "Soma"}')
    messages = [
        ModelMessage("system", "Be brief."),
        ModelMessage("user", "say: fine"),
        ModelMessage("assistant", "", (call,)),
        ModelMessage("tool", "a body", tool_call_id="call_7"),
    ]
    tool = ToolSchema("look_up", "Finds a word.", {"type": "object"})
    settings = ModelSettings(temperature=0.5, top_p=0.9, max_output_tokens=64, stop=("END",))
    _ = [chunk async for chunk in bench.model().stream(messages, tools=[tool], settings=settings)]

    [seen] = await bench.requests()
    assert seen["authorization"] == f"Bearer {KEY}"
    assert seen["body"] == {
        "model": "scripted",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "say: fine"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_7",
                        "type": "function",
                        "function": {"name": "look_up", "arguments": '{"word": "Soma"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_7", "content": "a body"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "look_up",
                    "description": "Finds a word.",
                    "parameters": {"type": "object"},
                },
            }
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 64,
        "stop": ["END"],
    }


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
    assert finish_of(chunks).usage.output_tokens == 5


async def test_reasoning_is_not_part_of_the_answer(bench: Bench):
    assert text_of(await bench.ask("think: Forty-two")) == "Forty-two"


async def test_a_busy_server_says_when_to_come_back(bench: Bench):
    waits = []
    for told in (
        "fail 429 7",
        "fail 503 2",
        "fail 429",
        "fail 429 Fri, 31 Dec 1999 23:59:59 GMT",
        "fail 429 soon",
    ):
        with pytest.raises(SomaError) as caught:
            await bench.ask(told)
        waits.append(caught.value.retry_after)
    assert waits == [7.0, 2.0, None, 0.0, None]


async def test_a_server_that_is_not_there_is_unreachable(bench: Bench):
    async with raw_server(lambda reader, writer: close(writer)) as url:
        pass
    for address in (url, "http://no-such-host.invalid/v1"):
        with pytest.raises(SomaError) as caught:
            await bench.ask("say: hello", base_url=address)
        assert caught.value.code == "model_unreachable"


@pytest.mark.parametrize(
    "address", ["", "ftp://host/v1", "http://", "http://me:secret@host/v1", "http://[::1"]
)
async def test_an_address_that_cannot_be_one_is_said_to_be_so(bench: Bench, address: str):
    with pytest.raises(SomaError, match="plain http or https address"):
        bench.model(base_url=address)


async def test_a_key_that_cannot_be_one_is_refused_without_showing_it(bench: Bench):
    for key in ("one\ntwo", "clé", "two words"):
        with pytest.raises(SomaError) as caught:
            bench.model(api_key=key)
        assert caught.value.code == "model_refused_key"
        assert key not in caught.value.message


async def test_whoever_stops_listening_frees_the_model_at_once(bench: Bench):
    async with aclosing(
        bench.model().stream([ModelMessage("user", "slow 0.05: " + "on " * 200)], settings=ModelSettings())
    ) as stream:
        first = await anext(stream)
    assert first == TextChunk("on")
    await bench.seen("disconnected")


async def test_a_cancelled_task_frees_the_model_also_before_the_first_word(bench: Bench):
    task = asyncio.create_task(bench.ask("hang"))
    await bench.seen("open")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.seen("disconnected")


async def test_one_connection_serves_one_answer_after_the_other(bench: Bench):
    addresses = set()
    for _ in range(3):
        await bench.ask("say: hello")
        [*_, seen] = await bench.requests()
        addresses.add(seen["peer"])
    assert len(addresses) == 1


async def test_streams_of_all_dialects_read_the_same(bench: Bench):
    words = [
        b'{"choices":[{"delta":{"content":"Gr\xc3\xbc"}}]}',
        b'{"choices":[{"delta":{"content":"ezi"}}]}',
    ]
    last = b'{"choices":[{"delta":{},"finish_reason":"stop"}]}'
    dialects = [
        b"".join(b"data: " + event + b"\n\n" for event in (*words, last, b"[DONE]")),
        b"".join(b"data:" + event + b"\r\n\r\n" for event in (*words, last, b"[DONE]")),
        b": hello\n\n" + b"".join(b"id: 1\nevent: x\ndata: " + e + b"\r\r" for e in (*words, last)),
        b"\xef\xbb\xbf"
        + b"".join(b"data: " + event.replace(b":[", b":\ndata: [") + b"\n\n" for event in (*words, last)),
        b"\n\n".join(b"data: " + event for event in (*words, last)),
        b"".join(
            b"data: " + event + b"\n\n" for event in (*words, last, b"[DONE]", b"[DONE]", b"more", words[0])
        ),
    ]
    for body in dialects:
        for size in (1, 7, len(body)):
            async with raw_server(speak(body, size)) as url:
                chunks = await bench.ask("anything", base_url=url)
            assert text_of(chunks) == "Grüezi"
            assert finish_of(chunks).reason == "stop"


async def test_an_answer_that_is_whole_survives_a_server_that_does_not_say_goodbye(bench: Bench):
    body = b'data: {"choices":[{"delta":{"content":"Done."},"finish_reason":"stop"}]}\n\ndata: {"cho'
    hasty = Timeouts(connect=2, first_token=2, idle=0.2)
    for keep_open in (False, True):
        async with raw_server(speak(body, 10, keep_open=keep_open)) as url:
            chunks = await bench.ask("anything", base_url=url, timeouts=hasty)
        assert text_of(chunks) == "Done."


async def test_a_reader_slower_than_its_model_gets_every_word(bench: Bench):
    """What has come and is not read yet is held back, and comes when it is."""
    words = [f"word{number} " for number in range(60_000)]
    said = [f'{{"choices":[{{"delta":{{"content":"{word}"}}}}]}}' for word in words]
    end = '{"choices":[{"delta":{},"finish_reason":"stop"}]}'
    events = [f"data: {event}\n\n".encode() for event in (*said, end, "[DONE]")]

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        for event in events:
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    text: list[str] = []
    async with raw_server(handler) as url:
        model = bench.model(base_url=url, max_response_bytes=10_000_000)
        async for chunk in model.stream([ModelMessage("user", "anything")], settings=ModelSettings()):
            text += [chunk.text] if isinstance(chunk, TextChunk) else []
            await asyncio.sleep(0.01)
    assert "".join(text) == "".join(words)


@pytest.mark.parametrize(
    "event",
    [
        b"[]",
        b'"text"',
        b"{}",
        b'{"choices":[7]}',
        b'{"choices":[{"delta":{"content":7}}]}',
        b'{"choices":7}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]},"finish_reason":"stop"}]}',
    ],
)
async def test_json_of_the_wrong_shape_is_garbled(bench: Bench, event: bytes):
    async with raw_server(speak(b"data: " + event + b"\n\ndata: [DONE]\n\n", 1000)) as url:
        with pytest.raises(SomaError) as caught:
            await bench.ask("anything", base_url=url)
    assert caught.value.code == "model_garbled"
