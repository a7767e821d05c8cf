"""A turn's events as those of a streamed response.

Each has a ``sequence_number``, from 0. It follows from the turn's events alone: whoever reads them again from
the first, on whatever gateway, numbers them alike, and leaves out what a client has seen.

Their protocol has no word for an answer that another host begins anew. What the new one repeats is not told
twice. Where it writes something else than what was told, an ``error`` says so; after it comes the end alone,
with the whole response.
"""

from __future__ import annotations

from typing import Any

import orjson

from somaagent.agent.events import TextDelta, TurnCancelled, TurnEnded, TurnEvent, TurnFailed, TurnStarted
from somaagent.agent.messages import ToolCall
from somaagent.agent.step_events import StepCompleted, ToolEvent
from somaagent.errors import SomaError

from .ids import output_id
from .output import INCOMPLETE, Output, call_item, message_item, text_part
from .shapes import Failure, Frame

Event = dict[str, Any]
RESTARTED = "response_restarted"
# Before the names of events that are ours alone.
OWN = "somaagent."


class Narrator:
    """Takes a turn's events from the first; gives those of its response."""

    def __init__(self, frame: Frame, turn_id: str) -> None:
        self._frame = frame
        self._turn_id = turn_id
        self._numbers = 0
        self._index = 0
        # What was told: steps to their end, and the text of the next one.
        self._steps = 0
        self._text = ""
        self._begun = False
        self._repeats = False
        self._differs = False
        self._of_tools: set[tuple[str, bytes]] = set()
        # What there is: the same, but for an answer that another host began anew.
        self._output = Output(turn_id)

    def begin(self) -> list[Event]:
        background = self._frame.shown["background"]
        events = [self._state("created", "queued" if background else "in_progress")]
        return [*events, self._state("queued", "queued")] if background else events

    def take(self, event: TurnEvent) -> list[Event]:
        if isinstance(event, TurnStarted):
            return self._started(event)
        if isinstance(event, TextDelta):
            self._output.open_text += event.text
            return self._said(event.text)
        if isinstance(event, StepCompleted):
            self._output.close(event)
            return self._step(event)
        if isinstance(event, TurnEnded):
            return self.end(event)
        if isinstance(event, ToolEvent):
            return self._of_tool(event)
        return []

    def _started(self, event: TurnStarted) -> list[Event]:
        if event.attempt > 1:
            self._output = Output(self._turn_id)
            self._repeats = True
        begun, self._begun = self._begun, True
        return [] if begun else [self._state("in_progress", "in_progress")]

    def _of_tool(self, event: ToolEvent) -> list[Event]:
        """As it is: their protocol has no word for a question that is asked in mid-answer."""
        data = event.data()
        known = (event.type, orjson.dumps(data))
        if known in self._of_tools:
            return []  # another host begins with what was told before
        self._of_tools.add(known)
        return [{"type": f"{OWN}{event.type}", "sequence_number": self._numbered(), **data}]

    def _said(self, text: str) -> list[Event]:
        if self._differs or self._output.steps < self._steps:
            return []
        if self._repeats:
            again = self._output.open_text
            if self._text.startswith(again):
                return []
            if not again.startswith(self._text):
                return [self._restarted()]
            text, self._repeats = again[len(self._text) :], False
        return self._delta(text)

    def _delta(self, text: str) -> list[Event]:
        place = self._place(output_id(self._turn_id, self._steps + 1))
        events: list[Event] = []
        if not self._text:
            item = message_item(place["item_id"], None, "in_progress")
            events.append(self._event("output_item.added", output_index=self._index, item=item))
            events.append(self._event("content_part.added", **place, content_index=0, part=text_part("")))
        self._text += text
        told = self._event("output_text.delta", **place, content_index=0, delta=text, logprobs=[])
        return [*events, told]

    def _step(self, step: StepCompleted) -> list[Event]:
        if self._differs or step.step <= self._steps:
            return []
        if self._text != step.text:
            return [self._restarted()]
        self._repeats = False
        status = "incomplete" if step.finish_reason in INCOMPLETE else "completed"
        events = self._text_done(status)
        self._steps = step.step
        if not step.results:
            for number, call in enumerate(step.message.tool_calls):
                events += self._call(output_id(self._turn_id, step.step, number), call)
        return events

    def _text_done(self, status: str) -> list[Event]:
        if not self._text:
            return []
        place = self._place(output_id(self._turn_id, self._steps + 1))
        part = text_part(self._text)
        events = [
            self._event("output_text.done", **place, content_index=0, text=self._text, logprobs=[]),
            self._event("content_part.done", **place, content_index=0, part=part),
            self._item_done(message_item(place["item_id"], self._text, status)),
        ]
        self._text = ""
        return events

    def _call(self, item_id: str, call: ToolCall) -> list[Event]:
        place, item = self._place(item_id), call_item(item_id, call, "completed")
        begun = call_item(item_id, call, "in_progress")
        return [
            self._event("output_item.added", output_index=self._index, item=begun),
            self._event("function_call_arguments.delta", **place, delta=item["arguments"]),
            self._event("function_call_arguments.done", **place, name=call.name, arguments=item["arguments"]),
            self._item_done(item),
        ]

    def end(self, event: TurnEnded) -> list[Event]:
        """The last event, and before it the end of what was being said."""
        events = [] if self._differs else self._text_done("incomplete")
        return [*events, self._last(event, self._output)]

    def ended_before(self, event: TurnEnded, output: Output, *, after: int | None) -> list[Event]:
        """The last event of a response whose others are no longer kept, for who has seen a part of them."""
        self._numbers = max(self._numbers, 0 if after is None else after + 1)
        return [self._last(event, output)]

    def _last(self, event: TurnEnded, output: Output) -> Event:
        if isinstance(event, TurnFailed):
            failure = Failure(event.code, event.message)
            response = self._frame.ended("failed", output, event.usage, failure)
            return self._event("failed", response=response)
        if isinstance(event, TurnCancelled):
            # Their clients know no event for a cancellation: it is an incomplete response of that status.
            response = self._frame.ended("cancelled", output, event.usage)
            return self._event("incomplete", response=response)
        response = self._frame.ended("completed", output, event.usage)
        return self._event(response["status"], response=response)

    def _restarted(self) -> Event:
        self._differs = True
        sentence = (
            "Another server went on with this answer and wrote it anew, otherwise than what was told. "
            f"Follow it with starting_after={self._numbers}, or retrieve it, for the whole of it."
        )
        return _error(RESTARTED, sentence, self._numbered())

    def broken_off(self, error: SomaError) -> Event:
        """What is told in place of the rest."""
        return error_event(error, self._numbered())

    def _state(self, name: str, status: str) -> Event:
        return self._event(name, response=self._frame.response(status))

    def _item_done(self, item: dict[str, Any]) -> Event:
        done = self._event("output_item.done", output_index=self._index, item=item)
        self._index += 1
        return done

    def _place(self, item_id: str) -> dict[str, Any]:
        return {"item_id": item_id, "output_index": self._index}

    def _event(self, kind: str, /, **facts: Any) -> Event:
        return {"type": f"response.{kind}", "sequence_number": self._numbered(), **facts}

    def _numbered(self) -> int:
        number = self._numbers
        self._numbers += 1
        return number


def error_event(error: SomaError, number: int) -> Event:
    """The last event of a stream whose response goes on, or is nobody's to read."""
    return _error(error.code, error.message, number)


def _error(code: str, sentence: str, number: int) -> Event:
    return {"type": "error", "code": code, "message": sentence, "param": None, "sequence_number": number}
