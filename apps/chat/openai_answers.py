"""An agent's answer in the shapes of OpenAI's chat completions: whole, or as a stream of chunks."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from django.http import StreamingHttpResponse

from somaagent.agent.content import Reasoning
from somaagent.agent.events import AgentEvent, ReasoningDelta, RunCompleted, TextDelta
from somaagent.agent.messages import ToolCall, Usage
from somaagent.agent.step_events import StepCompleted
from somaagent.errors import SomaError
from somaagent.tenancy.fields import uuid7
from somaagent.web import openai_errors

from . import sse

logger = structlog.get_logger(__name__)

Events = AsyncGenerator[AgentEvent, None]
REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})
DELTAS: dict[type[AgentEvent], str] = {TextDelta: "content", ReasoningDelta: "reasoning_content"}
DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class Completion:
    """One answer as it grows. ``model`` is what the caller asked for: the agent's slug."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid7().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    parts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    reasoning: tuple[Reasoning, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    reason: str = "stop"

    def take(self, event: AgentEvent) -> None:
        if isinstance(event, TextDelta):
            self.parts.append(event.text)
        elif isinstance(event, ReasoningDelta):
            self.thoughts.append(event.text)
        elif isinstance(event, StepCompleted):
            self.calls, self.reasoning = event.message.tool_calls, event.message.reasoning
        elif isinstance(event, RunCompleted):
            self.usage, self.reason = event.usage, _reason(event.finish_reason, self.calls)

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self.parts) or (None if self.calls else ""),
            "refusal": None,
        }
        if self.thoughts:
            message["reasoning_content"] = "".join(self.thoughts)
        if self.reasoning:
            message["reasoning_state"] = self.state()
        if self.calls:
            message["tool_calls"] = [_call(call) for call in self.calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.reason}
        return self._envelope("chat.completion", [choice]) | {"usage": _usage(self.usage)}

    def state(self) -> list[dict[str, Any]]:
        """What a caller sends back with the results of its tools, unread: models sign what they thought."""
        return [piece.data() for piece in self.reasoning]

    def chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._envelope("chat.completion.chunk", [choice])

    def usage_chunk(self) -> dict[str, Any]:
        return self._envelope("chat.completion.chunk", []) | {"usage": _usage(self.usage)}

    def endings(self, *, include_usage: bool) -> Iterator[dict[str, Any]]:
        """The chunks that follow the text."""
        if self.reasoning:
            yield self.chunk({"reasoning_state": self.state()})
        if self.calls:
            yield self.call_chunk()
        yield self.chunk({}, self.reason)
        if include_usage:
            yield self.usage_chunk()

    def call_chunk(self) -> dict[str, Any]:
        """The tool calls: complete, since the engine puts their pieces together."""
        return self.chunk({"tool_calls": [{"index": n, **_call(call)} for n, call in enumerate(self.calls)]})

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


async def whole_of(events: Events, model: str) -> dict[str, Any]:
    """The answer once it is complete."""
    completion = Completion(model)
    async with aclosing(events):
        async for event in events:
            completion.take(event)
    return completion.whole()


def response_of(events: Events, model: str, *, include_usage: bool) -> StreamingHttpResponse:
    """The answer as it comes. Whoever stops reading stops the model."""
    return sse.response_of(_encoded(events, Completion(model), include_usage=include_usage), bytes)


async def _encoded(
    events: Events, completion: Completion, *, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(events):
            yield _event(completion.chunk({"role": "assistant", "content": ""}))
            async for event in events:
                completion.take(event)
                if field := DELTAS.get(type(event)):
                    yield _event(completion.chunk({field: event.data()["text"]}))
        for chunk in completion.endings(include_usage=include_usage):
            yield _event(chunk)
        yield DONE
    except SomaError as error:
        # The status is long sent: their clients look for an error among the events.
        yield _event(openai_errors.told(error))
    except Exception:
        logger.exception("completion.crashed")
        yield _event(openai_errors.error_of(500, "internal", "The server failed in mid-answer."))


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _reason(reason: str, calls: tuple[ToolCall, ...]) -> str:
    """One of the four words that clients know; servers of models have more."""
    if calls and reason not in {"length", "content_filter"}:
        return "tool_calls"
    return reason if reason in REASONS else "stop"


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    shown = {"id": call.id, "type": "function", "function": function}
    return shown | {"extra_content": dict(call.native)} if call.native else shown


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
