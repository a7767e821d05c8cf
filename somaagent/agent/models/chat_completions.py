"""The shapes of the chat completions protocol: our messages to its request, its answers to our chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson

from somaagent.agent import tokens
from somaagent.agent.content import File, Image, Part, Reasoning, Text
from somaagent.agent.failures import refused_request
from somaagent.agent.messages import ModelMessage, ToolCall, Usage
from somaagent.agent.models.answers import AnswerReader, PartialCall
from somaagent.agent.ports import ModelSettings, ReasoningChunk, TextChunk, ToolSchema

PROTOCOL = "chat_completions"
# Where servers put reasoning: DeepSeek, vLLM, llama.cpp and LM Studio in the first, OpenRouter, Groq and
# newer vLLM in the second. It goes back in the field in which it came: some refuse the results of tools
# without it.
REASONING_FIELDS = ("reasoning_content", "reasoning")
_DETAILS = "reasoning_details"
_THOUGHTS = frozenset({*REASONING_FIELDS, _DETAILS})
PYDANTIC_AI = "pydantic_ai"  # whose notes on a call are no other protocol's


def request_body(
    model: str,
    messages: Sequence[ModelMessage],
    tools: Sequence[ToolSchema],
    settings: ModelSettings,
    *,
    limit: str = "max_tokens",
) -> bytes:
    """The JSON of a streaming request. ``limit`` is the server's word for the most tokens of an answer.

    Raises ``model_refused_request`` for what the protocol has no word for.
    """
    if settings.thinking_tokens is not None:
        raise refused_request("chat completions know no number of thinking tokens; say how hard to think")
    body: dict[str, Any] = {
        "model": model,
        "messages": [_message(message, model) for message in messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if tools:
        body["tools"] = [_tool(tool) for tool in tools]
    chosen = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        limit: settings.max_output_tokens,
        "stop": list(settings.stop) or None,
        "seed": settings.seed,
        "presence_penalty": settings.presence_penalty,
        "frequency_penalty": settings.frequency_penalty,
        "response_format": settings.response_format,
        "tool_choice": settings.tool_choice,
        "parallel_tool_calls": settings.parallel_tool_calls,
        "reasoning_effort": settings.reasoning_effort,
    }
    body.update((name, value) for name, value in chosen.items() if value is not None)
    return orjson.dumps(body)


def _message(message: ModelMessage, model: str) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.text}
    if message.parts:
        return {"role": message.role, "content": [_part(part) for part in message.parts]}
    said: dict[str, Any] = {"role": message.role, "content": message.text}
    for piece in message.reasoning:
        if piece.of(PROTOCOL, model):
            said |= _given_back(piece)
    if message.tool_calls:
        said["content"] = message.text or None
        said["tool_calls"] = [_call(call) for call in message.tool_calls]
    return said


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    shown: dict[str, Any] = {"id": call.id, "type": "function", "function": function}
    if extra := {name: value for name, value in (call.native or {}).items() if name != PYDANTIC_AI}:
        shown["extra_content"] = extra
    return shown


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            image = {"url": part.url or _data_url(part.media_type, part.content)}
            return {
                "type": "image_url",
                "image_url": image | ({"detail": part.detail} if part.detail else {}),
            }
        case File():
            file = {"filename": part.name, "file_data": _data_url(part.media_type, part.content)}
            return {"type": "file", "file": file}


def _data_url(media_type: str | None, content: str | None) -> str:
    return f"data:{media_type};base64,{content}"


def _given_back(piece: Reasoning) -> dict[str, Any]:
    if details := piece.native.get("details"):
        return {_DETAILS: details}
    field = piece.native.get("field")
    return {field if field in REASONING_FIELDS else REASONING_FIELDS[0]: piece.text}


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
    last_word = b"[DONE]"
    reasons: ClassVar = {"function_call": "tool_calls", "eos": "stop", "max_tokens": "length"}

    def __init__(self, model: str, secret: str | None = None) -> None:
        super().__init__(model, secret)
        self._has_usage = False
        self._thoughts: list[str] = []
        self._field = REASONING_FIELDS[0]
        self._details: list[dict[str, Any]] = []

    @property
    def complete(self) -> bool:
        return self._done or (self.finished and self._has_usage)

    def _read(self, answer: Mapping[str, Any]) -> None:
        """Once for each token: what a token does not have is not gone into."""
        if usage := answer.get("usage"):
            self._usage, self._has_usage = _usage(usage), True
        choices = answer.get("choices")
        if choices is None and not usage:
            raise KeyError("choices")
        for choice in choices or ():
            said = choice.get("delta") or choice.get("message") or {}
            if not _THOUGHTS.isdisjoint(said):
                self._think(said)
            if content := said.get("content"):
                self._write(TextChunk, content if isinstance(content, str) else _joined(content))
            for position, part in enumerate(said.get("tool_calls") or ()):
                self._read_call(position, part)
            if reason := choice.get("finish_reason"):
                self._reason = str(reason)

    def _think(self, said: Mapping[str, Any]) -> None:
        """Servers that know both fields put the same into each."""
        for field in REASONING_FIELDS:
            if text := said.get(field):
                self._field = field
                self._write(ReasoningChunk, text)
                self._thoughts.append(text)
                break
        for detail in said.get(_DETAILS) or ():
            self.begun = True
            _merge(self._details, detail)

    def _reasoning(self) -> tuple[Reasoning, ...]:
        text = "".join(self._thoughts)
        if not text and not self._details:
            return ()
        native: dict[str, Any] = {"field": self._field}
        if self._details:
            native["details"] = self._details
        return (Reasoning(text, PROTOCOL, self._model, native),)

    def _read_call(self, position: int, part: Mapping[str, Any]) -> None:
        """Servers number the calls with ``index``; whole completions, and some servers, do not."""
        self.begun = True
        index = part.get("index")
        call = self._calls.setdefault(position if index is None else int(index), PartialCall())
        function = part.get("function") or {}
        call.id = part.get("id") or call.id
        call.name = function.get("name") or call.name
        if extra := part.get("extra_content"):  # where Gemini's compatible endpoint puts its signatures
            call.native = dict(extra)
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            arguments = orjson.dumps(arguments).decode()
        if arguments:
            call.arguments.append(arguments)


def _joined(content: Any) -> Any:
    """Content is a string, or a list of parts of which some are text."""
    if not isinstance(content, list):
        return content
    return "".join(part["text"] for part in content if part.get("type") == "text")


def _merge(details: list[dict[str, Any]], piece: Mapping[str, Any]) -> None:
    """OpenRouter's blocks of reasoning come in pieces; a piece goes on with the last block of its index and
    type (https://openrouter.ai/docs/use-cases/reasoning-tokens).
    """
    last = details[-1] if details else {}
    if not last or any(last.get(name) != piece.get(name) for name in ("type", "index")):
        details.append(dict(piece))
        return
    for name, value in piece.items():
        if name in ("text", "summary", "data") and isinstance(value, str):
            last[name] = (last.get(name) or "") + value
        elif value is not None:
            last[name] = value


def _usage(usage: Mapping[str, Any]) -> Usage:
    read = usage.get("prompt_tokens_details") or {}
    written = usage.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=tokens.told(usage.get("prompt_tokens")),
        cached_tokens=tokens.told(read.get("cached_tokens")),
        output_tokens=tokens.told(usage.get("completion_tokens")),
        reasoning_tokens=tokens.told(written.get("reasoning_tokens")),
    )
