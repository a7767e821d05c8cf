"""What a model thinks, and images and files that it is shown, in both protocols over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from somaagent.agent.coalesce import coalesce
from somaagent.agent.content import File, Image, Reasoning, Text, UnknownPart, part_of
from somaagent.agent.events import AgentEvent, ReasoningDelta, TextDelta
from somaagent.agent.limits import Limits
from somaagent.agent.loop import run
from somaagent.agent.messages import ModelMessage, ToolCall, Usage
from somaagent.agent.models.anthropic import Anthropic
from somaagent.agent.models.openai_compatible import OpenAICompatible
from somaagent.agent.ports import (
    FinishChunk,
    ModelSettings,
    ReasoningChunk,
    TextChunk,
    ToolCallChunk,
    ToolResult,
    ToolSchema,
    Toolset,
)
from somaagent.agent.step_events import StepCompleted
from somaagent.errors import SomaError
from tests.unit.agent.conftest import Bench, finish_of, text_of
from tests.unit.agent.raw import raw_server, speak

PIXEL = base64.b64encode(b"\x89PNG").decode()
PAPER = base64.b64encode(b"%PDF-1.7").decode()
NOTES = base64.b64encode("Größe".encode()).decode()
WEATHER = [{"name": "weather", "arguments": {"town": "Graz"}}]
SHOWN = ModelMessage.of_parts(
    [
        Text("say: seen"),
        Image(content=PIXEL, media_type="image/png"),
        Image(url="https://example.org/cat.jpg"),
        File("paper.pdf", "application/pdf", PAPER),
    ]
)


class Weather(Toolset):
    def schemas(self) -> Sequence[ToolSchema]:
        return [ToolSchema("weather", "The weather in a town.", {"type": "object"})]

    async def call(self, call: ToolCall) -> ToolResult:
        return ToolResult("Rain")


@pytest.fixture(params=[OpenAICompatible, Anthropic])
def either(bench: Bench, request: pytest.FixtureRequest) -> Bench:
    return replace(bench, adapter=request.param)


async def ran(bench: Bench, told: str, limits: Limits = Limits()) -> list[AgentEvent]:  # noqa: B008 - frozen
    events = run(
        [ModelMessage("user", told)],
        model=bench.model(),
        toolset=Weather(),
        settings=ModelSettings(),
        limits=limits,
    )
    return [event async for event in events]


async def body_of(bench: Bench, *messages: ModelMessage, **settings: Any) -> dict[str, Any]:
    stream = bench.model().stream(messages, settings=ModelSettings(**settings))
    _ = [chunk async for chunk in stream]
    body: dict[str, Any] = (await bench.requests())[-1]["body"]
    return body


async def test_what_a_model_thinks_comes_before_its_answer_and_apart_from_it(either: Bench):
    chunks = await either.ask("think: Forty-two")
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, ReasoningChunk)) == "Let me see"
    assert text_of(chunks) == "Forty-two"
    [piece] = finish_of(chunks).reasoning
    assert (piece.text, piece.model) == ("Let me see", "scripted")


async def test_a_run_tells_of_the_reasoning_and_gives_it_back_with_the_results_of_tools(either: Bench):
    events = await ran(either, f"ponder: {json.dumps(WEATHER)}\nthen say: Take an umbrella.")
    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == "Hm hm"
    step = next(event for event in events if isinstance(event, StepCompleted))
    assert step.message.reasoning[0].text == "Hm hm"
    # A step that is kept and read again, by another host say, is the same.
    assert StepCompleted.from_data(json.loads(json.dumps(step.data()))) == step

    _, second = await either.requests()
    said = second["body"]["messages"][1]
    if either.adapter is Anthropic:
        assert said["content"][0] == {"type": "thinking", "thinking": "Hm hm", "signature": "signed 0"}
        assert [block["type"] for block in said["content"]] == ["thinking", "tool_use"]
    else:
        assert said["reasoning_content"] == "Hm hm"


async def test_reasoning_goes_back_to_the_model_that_thought_it_and_to_no_other(either: Bench):
    theirs = Reasoning("A secret plan", "anthropic", "another", {"signature": "s", "field": "reasoning"})
    said = ModelMessage(
        "assistant", "Well.", reasoning=(theirs, replace(theirs, protocol="chat_completions"))
    )
    body = await body_of(either, ModelMessage("user", "hm"), said, ModelMessage("user", "say: go"))
    assert "secret plan" not in json.dumps(body)


async def test_what_was_kept_before_there_was_reasoning_is_still_read():
    old = {"role": "assistant", "text": "Hi", "tool_calls": [{"id": "1", "name": "a", "arguments": "{}"}]}
    assert ModelMessage.from_data(old) == ModelMessage("assistant", "Hi", (ToolCall("1", "a", "{}"),))
    assert ModelMessage.from_data(old).data() == old
    assert ModelMessage.from_data(json.loads(json.dumps(SHOWN.data()))) == SHOWN
    with pytest.raises(UnknownPart):
        part_of({"type": "smell"})
    with pytest.raises(ValueError, match="its text is theirs"):
        replace(SHOWN, text="something else")


async def test_hidden_thoughts_go_back_unread(bench: Bench):
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"usage": {}}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "redacted_thinking", "data": "opaque"},
        },
        {"type": "content_block_start", "index": 1, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "signature_delta", "signature": "a"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "signature_delta", "signature": "b"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
        {"type": "message_stop"},
    ]
    claude = replace(bench, adapter=Anthropic)
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    async with raw_server(speak(stream, 9)) as url:
        thought = finish_of(await claude.ask("hm", base_url=url)).reasoning
    said = ModelMessage("assistant", "Well.", reasoning=thought)
    body = await body_of(claude, ModelMessage("user", "hm"), said, ModelMessage("user", "say: go"))
    assert body["messages"][1]["content"] == [
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "thinking", "thinking": "", "signature": "ab"},
        {"type": "text", "text": "Well."},
    ]


async def test_what_openrouter_and_gemini_sign_goes_back_as_it_came(bench: Bench):
    def details(**facts: Any) -> dict[str, Any]:
        return {"reasoning_details": [{"type": "reasoning.text", "index": 0} | facts]}

    call = {"index": 0, "id": "c", "function": {"name": "weather", "arguments": "{}"}}
    signed = call | {"extra_content": {"google": {"thought_signature": "s"}}}
    deltas: list[tuple[dict[str, Any], str | None]] = [
        ({"reasoning": "One", "reasoning_content": "One"} | details(text="One"), None),
        ({"reasoning": " two"} | details(text=" two"), None),
        (details(signature="sig"), None),
        ({"tool_calls": [signed]}, "tool_calls"),
    ]
    stream = b"".join(
        b"data: "
        + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}).encode()
        + b"\n\n"
        for delta, reason in deltas
    )
    async with raw_server(speak(stream + b"data: [DONE]\n\n", 50)) as url:
        chunks = await bench.ask("hm", base_url=url)
    assert [chunk.text for chunk in chunks if isinstance(chunk, ReasoningChunk)] == ["One", " two"]
    calls = tuple(chunk.call for chunk in chunks if isinstance(chunk, ToolCallChunk))
    said = ModelMessage("assistant", "", calls, reasoning=finish_of(chunks).reasoning)
    result = ModelMessage("tool", "Rain", tool_call_id="c")
    body = await body_of(bench, ModelMessage("user", "say: go"), said, result)
    assert body["messages"][1] == {
        "role": "assistant",
        "content": None,
        "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "One two", "signature": "sig"}],
        "tool_calls": [
            {
                "id": "c",
                "type": "function",
                "function": {"name": "weather", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "s"}},
            }
        ],
    }


async def test_reasoning_that_is_not_text_is_garbled(bench: Bench):
    event = b'data: {"choices": [{"delta": {"reasoning": {"steps": 3}}}]}\n\n'
    async with raw_server(speak(event, 100)) as url:
        with pytest.raises(SomaError) as caught:
            await bench.ask("hm", base_url=url)
    assert caught.value.code == "model_garbled"


async def test_how_hard_to_think_is_said_in_each_protocol_s_words(bench: Bench):
    claude = replace(bench, adapter=Anthropic)
    hm = ModelMessage("user", "say: hm")
    assert (await body_of(bench, hm, reasoning_effort="low"))["reasoning_effort"] == "low"
    body = await body_of(claude, hm, reasoning_effort="high")
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": "high"}
    body = await body_of(claude, hm, thinking_tokens=2048)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert (await body_of(claude, hm, reasoning_effort="none"))["thinking"] == {"type": "disabled"}
    with pytest.raises(SomaError, match="thinking tokens") as refused:
        await body_of(bench, hm, thinking_tokens=2048)
    assert refused.value.code == "model_refused_request"


async def test_images_and_files_are_shown_to_a_model_in_their_order(either: Bench):
    body = await body_of(either, SHOWN)
    [message] = body["messages"]
    if either.adapter is Anthropic:
        assert message["content"] == [
            {"type": "text", "text": "say: seen"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.jpg"}},
            {
                "type": "document",
                "title": "paper.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PAPER},
            },
        ]
        return
    assert message["content"] == [
        {"type": "text", "text": "say: seen"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.jpg"}},
        {
            "type": "file",
            "file": {"filename": "paper.pdf", "file_data": f"data:application/pdf;base64,{PAPER}"},
        },
    ]


async def test_a_text_file_is_shown_as_its_text(bench: Bench):
    notes = ModelMessage.of_parts([Text("say: read"), File("notes.md", "text/markdown", NOTES)])
    body = await body_of(replace(bench, adapter=Anthropic), notes)
    source = body["messages"][0]["content"][1]["source"]
    assert source == {"type": "text", "media_type": "text/plain", "data": "Größe"}


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (Image(url="https://example.org/cat.jpg", detail="low"), "no detail of an image"),
        (File("a.zip", "application/zip", PAPER), "'a.zip' is application/zip"),
        (File("a.txt", "text/plain", base64.b64encode(b"\xff").decode()), "not text in UTF-8"),
    ],
)
async def test_what_anthropic_s_protocol_cannot_show_is_refused(bench: Bench, part: Any, reason: str):
    with pytest.raises(SomaError, match=reason) as refused:
        await body_of(replace(bench, adapter=Anthropic), ModelMessage.of_parts([Text("hm"), part]))
    assert refused.value.code == "model_refused_request"
    assert await bench.requests() == []


async def test_reasoning_is_put_together_as_text_is_and_the_two_stay_apart():
    async def events() -> AsyncGenerator[AgentEvent, None]:
        for word in ("a", "b", "c"):
            yield ReasoningDelta(word)
        for word in ("d", "e"):
            yield TextDelta(word)

    together = [event async for event in coalesce(events(), 0.05)]
    kinds = [type(event) for event in together]
    assert "".join(event.text for event in together if isinstance(event, ReasoningDelta)) == "abc"
    assert "".join(event.text for event in together if isinstance(event, TextDelta)) == "de"
    assert kinds == sorted(kinds, key=[ReasoningDelta, TextDelta].index)
    assert len(together) < 5


async def test_a_stream_of_thought_is_bounded_like_an_answer(either: Bench):
    with pytest.raises(SomaError) as caught:
        await ran(either, "think: Forty-two", limits=Limits(max_output_chars=5))
    assert caught.value.code == "output_limit"


async def test_a_model_without_thoughts_has_none(bench: Bench):
    assert await bench.ask("say: hi") == [TextChunk("hi"), FinishChunk("stop", Usage(2, 1, 1))]
