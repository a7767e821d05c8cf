"""A conversation as a model is told it, where it holds more than text: function calls and their outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import orjson

from somaagent.agent.content import File, Image, Part, Text
from somaagent.agent.messages import ModelMessage, Role, ToolCall
from somaagent.agent.step_events import StepCompleted
from somaagent.tenancy.scripts import Script

from . import statements
from .requests import Request

Item = Mapping[str, Any]
DATA = "data:"


@dataclass(slots=True)
class Said:
    """A stored message: its text, and what its turn keeps besides, where a request made it.

    ``items``: the input that the message stands for. ``steps``: how the answer came to be.
    """

    id: UUID
    role: str
    text: str
    items: Sequence[Item] | None = None
    steps: list[StepCompleted] = field(default_factory=list)

    @property
    def rest(self) -> str:
        """What its steps do not hold: all of a text without any, or the beginning of one that never ended."""
        return self.text.removeprefix("".join(step.text for step in self.steps))

    def messages(self) -> list[ModelMessage]:
        if self.items is not None:
            return messages_of_items(self.items)
        messages = [message for step in self.steps for message in (step.message, *step.results)]
        if self.rest:
            messages.append(ModelMessage("user" if self.role == "user" else "assistant", self.rest))
        return messages


@dataclass(frozen=True, slots=True)
class Whole:
    """What a model is told. ``ids``: for so many of the messages the last stored one that they hold to its
    end, None where it is not even the first.
    """

    messages: list[ModelMessage]
    ids: list[UUID | None]


def with_more(rows: Iterable[tuple[UUID, str, str]], question: UUID, request: Request) -> Script[Whole]:
    """Stored messages (id, role, text) with what is kept besides. The ``question`` may not be stored yet."""
    said = yield from filled([Said(*row) for row in rows])
    for one in said:
        if one.id == question:
            one.items = request.items
    return whole_of(said)


def filled(said: Sequence[Said]) -> Script[list[Said]]:
    """The same, with what the turns of these messages keep."""
    by_id = {one.id: one for one in said}
    inputs, steps = yield statements.more_of(list(by_id))
    for message_id, items in inputs:
        by_id[message_id].items = orjson.loads(items)
    for message_id, data in steps:
        by_id[message_id].steps.append(StepCompleted.from_data(orjson.loads(data)))
    return list(by_id.values())


def calls_waiting(message_id: UUID) -> Script[tuple[ToolCall, ...]]:
    """The calls with which an answer ends, if its turn left them to its caller."""
    (answer,) = yield from filled([Said(message_id, "assistant", "")])
    last = answer.steps[-1] if answer.steps else None
    return last.message.tool_calls if last and not last.results else ()


def whole_of(said: Sequence[Said]) -> Whole:
    numbered = [(message, number) for number, one in enumerate(said) for message in one.messages()]
    told = paired(numbered)
    ends = [0] * len(said)
    for place, (_, number) in enumerate(told, 1):
        ends[number] = place
    ids: list[UUID | None] = []
    held = -1
    for place in range(1, len(told) + 1):
        while held + 1 < len(said) and ends[held + 1] <= place:
            held += 1
        ids.append(said[held].id if held >= 0 else None)
    return Whole([message for message, _ in told], ids)


def messages_of_items(items: Iterable[Item]) -> list[ModelMessage]:
    """Input items as messages: a call belongs to the assistant's message before it."""
    messages: list[ModelMessage] = []
    for item in items:
        if item["type"] == "function_call_output":
            messages.append(ModelMessage("tool", text_of(item["output"]), tool_call_id=item["call_id"]))
        elif item["type"] == "function_call":
            call = ToolCall(item["call_id"], item["name"], item["arguments"])
            own = messages and messages[-1].role == "assistant"
            before = messages.pop() if own else ModelMessage("assistant")
            messages.append(replace(before, tool_calls=(*before.tool_calls, call)))
        else:
            messages.append(_message_of(item))
    return messages


def _message_of(item: Item) -> ModelMessage:
    if item["role"] == "user":
        return ModelMessage.of_parts([_part_of(part) for part in item["content"]])
    role: Role = "system" if item["role"] == "developer" else item["role"]
    return ModelMessage(role, text_of(item["content"]))


def _part_of(shown: Item) -> Part:
    if shown["type"] == "input_image":
        url, detail = shown["image_url"], shown.get("detail")
        if not url.startswith(DATA):
            return Image(url=url, detail=detail)
        media_type, content = _data_of(url)
        return Image(content=content, media_type=media_type, detail=detail)
    if shown["type"] == "input_file":
        media_type, content = _data_of(shown["file_data"])
        return File(shown["filename"], media_type, content)
    return Text(shown["text"])


def _data_of(url: str) -> tuple[str, str]:
    """The media type and the Base64 of a data URL."""
    media_type, _, content = url.removeprefix(DATA).partition(";base64,")
    return media_type, content


def text_of(content: str | Sequence[Item]) -> str:
    """The text of an item's content, or of a function's output."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


Numbered = tuple[ModelMessage, int]


def paired(messages: Sequence[Numbered]) -> list[Numbered]:
    """The same messages, each call followed by its output, as models' servers demand it.

    A call without an output, and an output without a call, are left out: the other one was deleted, or the
    conversation went on without it.
    """
    waiting: dict[str, list[Numbered]] = {}
    told: list[Numbered] = []
    # From the end: servers use the same id again and again, and an output belongs to the last call before it.
    for message, number in reversed(messages):
        if message.role == "tool":
            waiting.setdefault(message.tool_call_id or "", []).append((message, number))
            continue
        found = {call.id: waiting.pop(call.id)[-1] for call in message.tool_calls if call.id in waiting}
        calls = tuple(call for call in message.tool_calls if call.id in found)
        told += [found[call.id] for call in reversed(calls)]
        if message.text or message.parts or calls:
            told.append((replace(message, tool_calls=calls), number))
    return told[::-1]
