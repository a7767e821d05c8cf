"""What a response gave, out of a turn's events or of what is kept of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from somaagent.agent.messages import ToolCall
from somaagent.agent.step_events import StepCompleted

from .ids import output_id

# Why an answer ends before its end, by the finish reason of its last model call.
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(slots=True)
class Output:
    """A turn's output items as they grow: of each model call its text, and the calls that it hands back."""

    turn_id: str
    items: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0
    open_text: str = ""
    finish_reason: str = ""

    @property
    def cut_short(self) -> str | None:
        """Why the answer is incomplete, though its turn completed."""
        return INCOMPLETE.get(self.finish_reason)

    def close(self, step: StepCompleted) -> None:
        """The step is done: ``open_text`` was what is known of it."""
        self.steps, self.open_text = step.step, ""
        self.finish_reason = step.finish_reason
        self.items += items_of(self.turn_id, step)

    def all_items(self) -> list[dict[str, Any]]:
        """With what was said of a step that never ended."""
        if not self.open_text:
            return self.items
        item_id = output_id(self.turn_id, self.steps + 1)
        return [*self.items, message_item(item_id, self.open_text, "incomplete")]


def items_of(turn_id: str, step: StepCompleted) -> list[dict[str, Any]]:
    """A step's text, and its calls where they are the caller's to run."""
    items = []
    if step.text:
        status = "incomplete" if step.finish_reason in INCOMPLETE else "completed"
        items.append(message_item(output_id(turn_id, step.step), step.text, status))
    if not step.results:
        calls = enumerate(step.message.tool_calls)
        items += [call_item(output_id(turn_id, step.step, n), call, "completed") for n, call in calls]
    return items


def output_of(turn_id: str, steps: Sequence[StepCompleted], text: str) -> Output:
    """The output of a turn that is over. ``text`` is all that it said, in steps that ended or did not."""
    output = Output(turn_id)
    for step in steps:
        output.close(step)
    output.open_text = text.removeprefix("".join(step.text for step in steps))
    return output


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def message_item(item_id: str, text: str | None, status: str) -> dict[str, Any]:
    """An assistant's message; with None for a text, one that has just begun."""
    content = [] if text is None else [text_part(text)]
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def call_item(item_id: str, call: ToolCall, status: str) -> dict[str, Any]:
    arguments = (call.arguments or "{}") if status == "completed" else ""
    return {
        "id": item_id,
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": arguments,
        "status": status,
    }
