"""The shapes of the chat completions protocol: our messages to its request, its answers to our chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from somaagent.agent.failures import failed, garbled, rate_limited
from somaagent.agent.messages import ModelMessage, ToolCall, Usage
from somaagent.agent.ports import (
    FinishChunk,
    ModelChunk,
    ModelSettings,
    TextChunk,
    ToolCallChunk,
    ToolSchema,
)
from somaagent.errors import SomaError

_DONE = b"[DONE]"
_SHOWN_CHARS = 300
_OLD_REASONS = {"function_call": "tool_calls", "eos": "stop", "max_tokens": "length"}


def request_body(
    model: str, messages: Sequence[ModelMessage], tools: Sequence[ToolSchema], settings: ModelSettings
) -> bytes:
    """The JSON of a streaming request."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [_message(message) for message in messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if tools:
        body["tools"] = [_tool(tool) for tool in tools]
    chosen = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_output_tokens,
        "stop": list(settings.stop) or None,
        "seed": settings.seed,
        "presence_penalty": settings.presence_penalty,
        "frequency_penalty": settings.frequency_penalty,
        "response_format": settings.response_format,
        "tool_choice": settings.tool_choice,
        "parallel_tool_calls": settings.parallel_tool_calls,
    }
    body.update((name, value) for name, value in chosen.items() if value is not None)
    return orjson.dumps(body)


def _message(message: ModelMessage) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.text}
    if not message.tool_calls:
        return {"role": message.role, "content": message.text}
    return {
        "role": message.role,
        "content": message.text or None,
        "tool_calls": [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
            }
            for call in message.tool_calls
        ],
    }


def _tool(tool: ToolSchema) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


@dataclass(slots=True)
class _PartialCall:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class AnswerReader:
    """Puts one answer together from its JSON objects: the chunks of a stream, or one whole completion.

    ``finished`` once the server said why it stopped; ``begun`` once it wrote anything, also reasoning.
    """

    def __init__(self, secret: str | None = None) -> None:
        """``secret`` is kept out of what the server's error messages are quoted with."""
        self.begun = False
        self._secret = secret
        self._done = False
        self._reason = ""
        self._usage = Usage()
        self._has_usage = False
        self._calls: dict[int, _PartialCall] = {}

    @property
    def finished(self) -> bool:
        return self._done or bool(self._reason)

    @property
    def complete(self) -> bool:
        """Nothing that matters can follow."""
        return self._done or (self.finished and self._has_usage)

    def read(self, text: bytes) -> Iterator[TextChunk]:
        """The text in one JSON object. Raises ``SomaError``: garbled, or the error that the object tells
        of.
        """
        self._done = self._done or text == _DONE
        if self._done:
            return
        try:
            answer = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise garbled("it is not JSON") from None
        if not isinstance(answer, dict):
            raise garbled("it is not a JSON object")
        if answer.get("error"):
            raise told_error(answer["error"], self._secret)
        try:
            yield from self._read(answer)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise garbled("its JSON does not have the shape of a chat completion") from None

    def end(self) -> Iterator[ModelChunk]:
        """What is known only at the end: the tool calls and the finish."""
        for index, call in sorted(self._calls.items()):
            if not call.name:
                raise garbled("it asks for a tool without a name")
            yield ToolCallChunk(ToolCall(call.id or f"call_{index}", call.name, "".join(call.arguments)))
        default = "tool_calls" if self._calls else "stop"
        yield FinishChunk(_OLD_REASONS.get(self._reason, self._reason) or default, self._usage)

    def _read(self, answer: Mapping[str, Any]) -> Iterator[TextChunk]:
        if usage := answer.get("usage"):
            self._usage, self._has_usage = _usage(usage), True
        choices = answer.get("choices")
        if choices is None and not usage:
            raise KeyError("choices")
        for choice in choices or ():
            said = choice.get("delta") or choice.get("message") or {}
            if said.get("reasoning_content") or said.get("reasoning"):
                self.begun = True
            if text := said.get("content"):
                self.begun = True
                yield TextChunk(_text(text))
            for position, part in enumerate(said.get("tool_calls") or ()):
                self._read_call(position, part)
            if reason := choice.get("finish_reason"):
                self._reason = str(reason)

    def _read_call(self, position: int, part: Mapping[str, Any]) -> None:
        """Servers number the calls with ``index``; whole completions, and some servers, do not."""
        self.begun = True
        index = part.get("index")
        call = self._calls.setdefault(position if index is None else int(index), _PartialCall())
        function = part.get("function") or {}
        call.id = part.get("id") or call.id
        call.name = function.get("name") or call.name
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            arguments = orjson.dumps(arguments).decode()
        if arguments:
            call.arguments.append(arguments)


def _text(content: Any) -> str:
    """Content is a string, or a list of parts of which some are text."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type") == "text")


def _usage(usage: Mapping[str, Any]) -> Usage:
    read = usage.get("prompt_tokens_details") or {}
    written = usage.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=int(usage.get("prompt_tokens") or 0),
        cached_tokens=int(read.get("cached_tokens") or 0),
        output_tokens=int(usage.get("completion_tokens") or 0),
        reasoning_tokens=int(written.get("reasoning_tokens") or 0),
    )


def told_error(error: Any, secret: str | None) -> SomaError:
    """The error that a server describes in an answer that began well."""
    kind = str(error.get("type") or error.get("code") or "") if isinstance(error, dict) else ""
    if "rate_limit" in kind or kind == "429":
        return rate_limited(None)
    return failed(told_reason(error, secret) or "it gave no reason")


def told_reason(error: Any, secret: str | None) -> str:
    """The sentence in an error object, as one short line; empty when there is none."""
    said = error.get("message") if isinstance(error, dict) else error
    if not isinstance(said, str):
        return ""
    if secret:
        said = said.replace(secret, "[key]")
    return " ".join(said.split())[:_SHOWN_CHARS].rstrip(" .")
