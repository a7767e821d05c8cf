"""The facts of a step: what the model said, what became of the calls that it asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from somaagent.agent.messages import ModelMessage, ToolCall, Usage
from somaagent.agent.ports import Outcome, Verdict


@dataclass(frozen=True, slots=True)
class StepAnswered:
    """The model has asked for calls, and each that had no result yet is judged: ``verdicts``.

    Whoever persists it does so before the next event is asked for: then the calls run. The other facts are
    those of ``StepCompleted``.
    """

    type: ClassVar[str] = "step.answered"
    step: int
    message: ModelMessage
    usage: Usage
    finish_reason: str
    profile: str = ""
    ratio: float = 1.0
    verdicts: tuple[Verdict, ...] = ()

    def data(self) -> dict[str, Any]:
        """Without the verdicts: what has to be known to go on is what the model said."""
        return {
            "step": self.step,
            "message": self.message.data(),
            "usage": self.usage.data(),
            "finish_reason": self.finish_reason,
            "profile": self.profile,
            "ratio": self.ratio,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            data["step"],
            ModelMessage.from_data(data["message"]),
            Usage.from_data(data["usage"]),
            data["finish_reason"],
            data["profile"],
            data["ratio"],
        )


@dataclass(frozen=True, slots=True)
class ApprovalRequired:
    """A tool call waits until somebody approves or denies it: what it would do, at which risk, and why."""

    type: ClassVar[str] = "approval.required"
    step: int
    call: ToolCall
    reason: str
    risk: str

    def data(self) -> dict[str, Any]:
        return {"step": self.step, "call": self.call.data(), "reason": self.reason, "risk": self.risk}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["step"], ToolCall.from_data(data["call"]), data["reason"], data["risk"])


@dataclass(frozen=True, slots=True)
class ApprovalAnswered:
    """What became of the question: ``answer`` is ``approved``, ``denied`` or ``expired``. ``edited``: the
    arguments were changed; they are those of the ``tool.started`` that follows.
    """

    type: ClassVar[str] = "approval.answered"
    step: int
    call_id: str
    answer: str
    reason: str = ""
    edited: bool = False

    def data(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "call_id": self.call_id,
            "answer": self.answer,
            "reason": self.reason,
            "edited": self.edited,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["step"], data["call_id"], data["answer"], data["reason"], data["edited"])


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A tool call is about to run."""

    type: ClassVar[str] = "tool.started"
    step: int
    call: ToolCall

    def data(self) -> dict[str, Any]:
        return {"step": self.step, "call": self.call.data()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["step"], ToolCall.from_data(data["call"]))


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool call ended; ``text`` is its result, or the reason that there is none."""

    type: ClassVar[str] = "tool.finished"
    step: int
    call_id: str
    name: str
    text: str
    outcome: Outcome = Outcome.OK

    @property
    def is_error(self) -> bool:
        return self.outcome is not Outcome.OK

    def message(self) -> ModelMessage:
        """As the model is told it."""
        text = f"Error: {self.text}" if self.is_error else self.text
        return ModelMessage("tool", text, tool_call_id=self.call_id)

    def data(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "call_id": self.call_id,
            "name": self.name,
            "text": self.text,
            "outcome": self.outcome.value,
            "is_error": self.is_error,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        outcome = Outcome(data["outcome"])
        return cls(data["step"], data["call_id"], data["name"], data["text"], outcome)


ToolEvent = ApprovalRequired | ApprovalAnswered | ToolStarted | ToolFinished
"""What happens to a call, as those who follow a turn are told it."""


@dataclass(frozen=True, slots=True)
class StepCompleted:
    """A model call and all its tool calls are done.

    ``message`` is what the model said and ``results`` the tools' messages in the order of its calls: what the
    next step, here or on another host, needs to go on. ``profile`` is the model profile that answered; empty
    in steps that were kept before it was written down. ``ratio`` is how many tokens its server counted for
    each that we guessed.
    """

    type: ClassVar[str] = "step.completed"
    step: int
    message: ModelMessage
    results: tuple[ModelMessage, ...]
    usage: Usage
    finish_reason: str
    profile: str = ""
    ratio: float = 1.0

    @property
    def text(self) -> str:
        return self.message.text

    def data(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "text": self.text,
            "message": self.message.data(),
            "results": [result.data() for result in self.results],
            "usage": self.usage.data(),
            "finish_reason": self.finish_reason,
            "profile": self.profile,
            "ratio": self.ratio,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            data["step"],
            ModelMessage.from_data(data["message"]),
            tuple(ModelMessage.from_data(result) for result in data["results"]),
            Usage.from_data(data["usage"]),
            data["finish_reason"],
            data.get("profile", ""),
            data.get("ratio", 1.0),
        )
