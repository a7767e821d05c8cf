"""What a caller of ``/v1/responses`` wants, in our words, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings as limits

from apps.chat import told
from apps.chat.requests import Request
from somaagent.agent.messages import ToolCall
from somaagent.agent.ports import ModelSettings, ToolSchema
from somaagent.errors import Kind, SomaError, invalid


@dataclass(frozen=True, slots=True)
class Asked:
    """An agent by its slug, the input, what it follows (by their names) and how it is to be answered.

    ``items`` and ``shown`` have the shapes of the responses that repeat them.
    """

    agent: str
    items: Sequence[Mapping[str, Any]]
    instructions: str | None
    settings: ModelSettings
    tools: tuple[ToolSchema, ...]
    background: bool
    previous: str | None
    conversation: str | None
    shown: Mapping[str, Any]

    def request(self) -> Request:
        return Request(self.items, self.instructions, self.settings, self.tools, self.shown)

    def text(self) -> str:
        """The input as one text, for people who read the session."""
        if len(self.items) == 1:
            return _text(self.items[0])
        return "\n\n".join(_said(item) for item in self.items)


def _said(item: Mapping[str, Any]) -> str:
    speaker = item.get("role", "user")
    return _text(item) if speaker == "user" else f"{speaker.capitalize()}: {_text(item)}"


def _text(item: Mapping[str, Any]) -> str:
    if item["type"] == "function_call":
        return f"{item['name']}({item['arguments']})"
    if item["type"] == "function_call_output":
        return told.text_of(item["output"])
    shown = [f"[{part.get('filename', 'image')}]" for part in item["content"] if "text" not in part]
    return " ".join([text for text in (told.text_of(item["content"]),) if text] + shown)


def check_lengths(asked: Asked) -> None:
    """Each item may be as long as a message that a user sends in a session, and one has to say something."""
    most = limits.MESSAGE_MAX_CHARS
    for number, item in enumerate(asked.items):
        if (length := len(_text(item))) > most:
            raise SomaError(
                Kind.TOO_LARGE,
                "message_too_long",
                f"An item may have {most} characters; this one has {length}.",
                field=f"body.input[{number}]",
            )
    if not any(item["type"] == "function_call_output" or _text(item).strip() for item in asked.items):
        raise invalid("body.input", "Write something.")


def check_calls(asked: Asked, waiting: Sequence[ToolCall]) -> None:
    """Every call has its output, every output its call. ``waiting``: calls at the end of what is followed."""
    open_calls = {call.id for call in waiting}
    for number, item in enumerate(asked.items):
        if item["type"] == "function_call":
            open_calls.add(item["call_id"])
        elif item["type"] == "function_call_output":
            if item["call_id"] not in open_calls:
                raise invalid(
                    f"body.input[{number}].call_id",
                    f"No function call waits for an output with the call_id {item['call_id']!r}.",
                    code="function_call_not_found",
                )
            open_calls.discard(item["call_id"])
    if open_calls:
        raise invalid(
            "body.input",
            f"The output of the function call {min(open_calls)!r} is missing: send a function_call_output.",
            code="function_call_output_missing",
        )
