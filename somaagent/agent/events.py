"""The typed facts that a turn emits, and their form on the wire: a name and an object of JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, get_args

from somaagent.agent.context import Covers
from somaagent.agent.failures import is_retryable
from somaagent.agent.messages import NOTHING_USED, Usage
from somaagent.agent.step_events import (
    ApprovalAnswered,
    ApprovalRequired,
    StepAnswered,
    StepCompleted,
    ToolFinished,
    ToolStarted,
)
from somaagent.errors import SomaError


class UnknownEvent(ValueError):  # noqa: N818 - it is named for what was read
    """An event name that this version does not know."""


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A host took the turn. ``attempt`` counts from 1; a higher one means that a partial answer restarts."""

    type: ClassVar[str] = "turn.started"
    turn_id: str
    attempt: int = 1

    def data(self) -> dict[str, Any]:
        return {"turn_id": self.turn_id, "attempt": self.attempt}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["turn_id"], data["attempt"])


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A model is about to be asked; steps count from 1."""

    type: ClassVar[str] = "step.started"
    step: int

    def data(self) -> dict[str, Any]:
        return {"step": self.step}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["step"])


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer."""

    type: ClassVar[str] = "text.delta"
    text: str

    def data(self) -> dict[str, Any]:
        return {"text": self.text}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["text"])


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """The next piece of what the model thinks before it answers. It is not part of the answer."""

    type: ClassVar[str] = "reasoning.delta"
    text: str

    def data(self) -> dict[str, Any]:
        return {"text": self.text}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["text"])


@dataclass(frozen=True, slots=True)
class ContextCompacted:
    """Older messages no longer fit, and a summary stands in their place from now on.

    ``covers``: ``conversation`` (what was said before the turn's input) or ``steps`` (of this turn).
    ``messages`` is how many of them are new in the summary, which stands for those of earlier ones too.
    ``tokens_before`` and ``tokens_after`` are of the whole request, as guessed. ``usage`` is of the calls
    that made the summary; that of the step counts it in.
    """

    type: ClassVar[str] = "context.compacted"
    step: int
    covers: Covers
    messages: int
    summary: str
    tokens_before: int
    tokens_after: int
    usage: Usage

    def data(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "covers": self.covers,
            "messages": self.messages,
            "summary": self.summary,
            "tokens_before": self.tokens_before,
            "tokens_after": self.tokens_after,
            "usage": self.usage.data(),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            data["step"],
            data["covers"],
            data["messages"],
            data["summary"],
            data["tokens_before"],
            data["tokens_after"],
            Usage.from_data(data["usage"]),
        )


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """The engine's last event: the final answer, and what all steps together used."""

    type: ClassVar[str] = "run.completed"
    text: str
    usage: Usage
    finish_reason: str = "stop"

    def data(self) -> dict[str, Any]:
        return {"text": self.text, "usage": self.usage.data(), "finish_reason": self.finish_reason}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["text"], Usage.from_data(data["usage"]), data["finish_reason"])


@dataclass(frozen=True, slots=True)
class RunPaused:
    """The engine's last event where calls wait for approval: with the answers, the run goes on."""

    type: ClassVar[str] = "run.paused"
    step: int

    def data(self) -> dict[str, Any]:
        return {"step": self.step}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["step"])


@dataclass(frozen=True, slots=True)
class TurnAwaitingApproval:
    """Nobody runs the turn until somebody answers; at ``expires_at`` (ISO 8601) it goes on without."""

    type: ClassVar[str] = "turn.awaiting_approval"
    expires_at: str

    def data(self) -> dict[str, Any]:
        return {"expires_at": self.expires_at}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["expires_at"])


@dataclass(frozen=True, slots=True)
class TurnCompleted:
    """The answer is stored. ``message_id`` names the stored message."""

    type: ClassVar[str] = "turn.completed"
    text: str
    usage: Usage
    message_id: str | None = None

    def data(self) -> dict[str, Any]:
        return {"text": self.text, "usage": self.usage.data(), "message_id": self.message_id}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["text"], Usage.from_data(data["usage"]), data["message_id"])


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """The turn ended without an answer. ``retryable``: the same request may work later.

    ``usage`` is what was paid for all the same.
    """

    type: ClassVar[str] = "turn.failed"
    code: str
    message: str
    retryable: bool
    usage: Usage

    @classmethod
    def of(cls, error: SomaError, usage: Usage) -> Self:
        return cls(error.code, error.message, is_retryable(error), usage)

    def data(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "usage": self.usage.data(),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["code"], data["message"], data["retryable"], _paid(data))


@dataclass(frozen=True, slots=True)
class TurnCancelled:
    """Somebody stopped the turn, and its host acknowledged. ``usage`` is what was paid for until then."""

    type: ClassVar[str] = "turn.cancelled"
    usage: Usage

    def data(self) -> dict[str, Any]:
        return {"usage": self.usage.data()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(_paid(data))


def _paid(data: Mapping[str, Any]) -> Usage:
    """Hosts of an older version, whose turns are followed while a new one is rolled out, do not tell it."""
    return Usage.from_data(data["usage"]) if "usage" in data else NOTHING_USED


TurnEnded = TurnCompleted | TurnFailed | TurnCancelled
"""A turn's last event."""

AgentEvent = (
    StepStarted
    | ContextCompacted
    | TextDelta
    | ReasoningDelta
    | StepAnswered
    | ApprovalRequired
    | ToolStarted
    | ToolFinished
    | StepCompleted
    | RunPaused
    | RunCompleted
)
TurnEvent = AgentEvent | TurnStarted | ApprovalAnswered | TurnAwaitingApproval | TurnEnded

_BY_NAME: dict[str, type[TurnEvent]] = {
    event.type: event
    for event in (
        TurnStarted,
        StepStarted,
        ContextCompacted,
        TextDelta,
        ReasoningDelta,
        StepAnswered,
        ApprovalRequired,
        ApprovalAnswered,
        ToolStarted,
        ToolFinished,
        StepCompleted,
        RunPaused,
        RunCompleted,
        TurnAwaitingApproval,
        *get_args(TurnEnded),
    )
}

FINAL_TYPES = frozenset(event.type for event in get_args(TurnEnded))


def decode(name: str, data: Mapping[str, Any]) -> TurnEvent:
    """The event that ``event.type`` and ``event.data()`` describe. Raises ``UnknownEvent`` for another
    name.
    """
    try:
        event = _BY_NAME[name]
    except KeyError:
        raise UnknownEvent(f"There is no event named {name!r}.") from None
    return event.from_data(data)


def decode_end(name: str, data: Mapping[str, Any]) -> TurnEnded:
    """``decode``, for an event of ``FINAL_TYPES``. Raises ``UnknownEvent`` for any other."""
    event = decode(name, data)
    if not isinstance(event, TurnEnded):
        raise UnknownEvent(f"{name!r} is no turn's last event.")
    return event
