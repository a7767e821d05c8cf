"""The shapes of the chat completions protocol: our messages to its request, its answers to our chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import orjson

from somaagent.agent.messages import ModelMessage, Usage
from somaagent.agent.models.answers import AnswerReader, PartialCall
from somaagent.agent.ports import ModelSettings, TextChunk, ToolSchema

_DONE = b"[DONE]"


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


class CompletionReader(AnswerReader):
    """Reads the chunks of a streamed chat completion, or a whole one."""

    what = "a chat completion"
    reasons: ClassVar = {"function_call": "tool_calls", "eos": "stop", "max_tokens": "length"}

    def __init__(self, secret: str | None = None) -> None:
        super().__init__(secret)
        self._done = False
        self._has_usage = False

    @property
    def finished(self) -> bool:
        return self._done or super().finished

    @property
    def complete(self) -> bool:
        return self._done or (self.finished and self._has_usage)

    def read(self, text: bytes) -> Iterator[TextChunk]:
        self._done = self._done or text == _DONE
        if not self._done:
            yield from super().read(text)

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
        call = self._calls.setdefault(position if index is None else int(index), PartialCall())
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
