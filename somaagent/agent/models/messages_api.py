"""The shapes of Anthropic's Messages API: our messages to its request, its answers to our chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from somaagent.agent import failures, tokens
from somaagent.agent.content import Reasoning
from somaagent.agent.messages import ModelMessage, Usage
from somaagent.agent.models.answers import AnswerReader, PartialCall
from somaagent.agent.models.message_blocks import PROTOCOL, blocks_of
from somaagent.agent.ports import ModelSettings, ReasoningChunk, TextChunk, ToolSchema

# The API wants a number; this one every model of it can write.
_MAX_TOKENS = 4096
# The API wants a user to speak first; the oldest messages of a long conversation may be left out.
_BEFORE = {"type": "text", "text": "(What was said before is left out.)"}


def request_body(
    model: str, messages: Sequence[ModelMessage], tools: Sequence[ToolSchema], settings: ModelSettings
) -> bytes:
    """The JSON of a streaming request. Raises ``model_refused_request`` for what the API has no word for."""
    _check(settings)
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": settings.max_output_tokens or _MAX_TOKENS,
        "messages": _conversation(messages, model),
        "stream": True,
    }
    chosen = {
        "system": "\n\n".join(message.text for message in messages if message.role == "system") or None,
        "tools": [_tool(tool) for tool in tools] or None,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "stop_sequences": list(settings.stop) or None,
        "tool_choice": _tool_choice(settings) if tools else None,
        **_thinking(settings),
    }
    body.update((name, value) for name, value in chosen.items() if value is not None)
    return orjson.dumps(body)


def _check(settings: ModelSettings) -> None:
    for name in ("seed", "presence_penalty", "frequency_penalty", "response_format"):
        if getattr(settings, name) is not None:
            raise failures.refused_request(f"Anthropic's protocol knows no {name}")


def _thinking(settings: ModelSettings) -> dict[str, Any]:
    """Older models are told how many tokens of thought they have, newer ones how hard to think."""
    effort, budget = settings.reasoning_effort, settings.thinking_tokens
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    said: dict[str, Any] = {}
    if budget is not None:
        said["thinking"] = {"type": "enabled", "budget_tokens": budget}
    if effort is not None:
        said.setdefault("thinking", {"type": "adaptive", "display": "summarized"})
        said["output_config"] = {"effort": effort}
    return said


def _tool_choice(settings: ModelSettings) -> dict[str, Any] | None:
    """OpenAI's words for which tool the model may, must or must not call, in the API's."""
    chosen = settings.tool_choice
    if chosen is None and settings.parallel_tool_calls is None:
        return None
    if isinstance(chosen, Mapping):
        choice: dict[str, Any] = {"type": "tool", "name": chosen["function"]["name"]}
    else:
        choice = {"type": {"required": "any"}.get(chosen or "auto", chosen or "auto")}
    if settings.parallel_tool_calls is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return choice


def _conversation(messages: Sequence[ModelMessage], model: str) -> list[dict[str, Any]]:
    """Users and assistants in turn: what one side says in several messages becomes one, as results of tools
    must.
    """
    conversation: list[dict[str, Any]] = []
    for message in messages:
        blocks = blocks_of(message, model)
        if not blocks:
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if not conversation and role == "assistant":
            conversation.append({"role": "user", "content": [_BEFORE]})
        if conversation and conversation[-1]["role"] == role:
            conversation[-1]["content"] += blocks
        else:
            conversation.append({"role": role, "content": blocks})
    return conversation


def _tool(tool: ToolSchema) -> dict[str, Any]:
    shown = {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}
    return shown | {"strict": True} if tool.strict else shown


@dataclass(slots=True)
class Thought:
    """A block of thinking as it grows: with the API's signature, or hidden (``redacted``) as a whole."""

    text: list[str] = field(default_factory=list)
    signature: str = ""
    redacted: str = ""

    def native(self) -> dict[str, str]:
        return {"redacted": self.redacted} if self.redacted else {"signature": self.signature}


class MessageReader(AnswerReader):
    """Reads the events of a streamed message, or a whole one. Kinds of events that it does not know are
    passed over: the API says that there will be more.
    """

    what = "a message of Anthropic's API"
    reasons: ClassVar = {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "refusal": "content_filter",
    }

    def __init__(self, model: str, secret: str | None = None) -> None:
        super().__init__(model, secret)
        self._counts: dict[str, int] = {}
        self._thoughts: dict[int, Thought] = {}

    def _read(self, answer: Mapping[str, Any]) -> None:
        match answer["type"]:
            case "message":
                self._whole(answer)
            case "message_start":
                self._count(answer["message"].get("usage"))
            case "content_block_start":
                self._block(answer["index"], answer["content_block"])
            case "content_block_delta":
                self._delta(answer["index"], answer["delta"])
            case "message_delta":
                self._reason = str(answer["delta"].get("stop_reason") or self._reason)
                self._count(answer.get("usage"))
            case "message_stop":
                self._done = True

    def _whole(self, message: Mapping[str, Any]) -> None:
        for index, block in enumerate(message["content"]):
            self._block(index, block)
        self._reason = str(message.get("stop_reason") or "")
        self._count(message.get("usage"))

    def _block(self, index: int, block: Mapping[str, Any]) -> None:
        match block["type"]:
            case "text":
                self._write(TextChunk, block.get("text"))
            case "thinking":
                self._thoughts[index] = Thought(signature=str(block.get("signature") or ""))
                self._think(index, block.get("thinking"))
            case "redacted_thinking":
                self.begun = True
                self._thoughts[index] = Thought(redacted=str(block["data"]))
            case "tool_use":
                self.begun = True
                call = PartialCall(str(block["id"]), str(block["name"]))
                if values := block.get("input"):
                    call.arguments.append(orjson.dumps(values).decode())
                self._calls[index] = call

    def _delta(self, index: int, delta: Mapping[str, Any]) -> None:
        match delta["type"]:
            case "text_delta":
                self._write(TextChunk, delta["text"])
            case "thinking_delta":
                self._think(index, delta["thinking"])
            case "signature_delta" if index in self._thoughts:
                self.begun = True
                self._thoughts[index].signature += str(delta["signature"])
            case "input_json_delta" if index in self._calls:
                self._calls[index].arguments.append(str(delta["partial_json"]))

    def _think(self, index: int, text: Any) -> None:
        self._write(ReasoningChunk, text)
        if text:
            self._thoughts.setdefault(index, Thought()).text.append(text)

    def _reasoning(self) -> tuple[Reasoning, ...]:
        return tuple(
            Reasoning("".join(thought.text), PROTOCOL, self._model, thought.native())
            for _, thought in sorted(self._thoughts.items())
        )

    def _count(self, usage: Mapping[str, Any] | None) -> None:
        """Counts are told once or grow; what was read from or written to the cache is counted apart there."""
        self._counts.update((name, tokens.told(count)) for name, count in (usage or {}).items() if count)
        cached = self._counts.get("cache_read_input_tokens", 0)
        written = self._counts.get("cache_creation_input_tokens", 0)
        self._usage = Usage(
            input_tokens=self._counts.get("input_tokens", 0) + cached + written,
            cached_tokens=cached,
            output_tokens=self._counts.get("output_tokens", 0),
        )
