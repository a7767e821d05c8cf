"""What people said when they were asked whether a call may run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

import orjson

from somaagent.agent.messages import ToolCall
from somaagent.agent.ports import Action, Outcome, ToolResult, Toolset, Verdict
from somaagent.agent.toolsets import WrapperToolset

from .models import Answer
from .policy.inputs import Approval


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer to a question. ``by`` and ``role`` are empty where nobody gave one in time.

    ``arguments`` replace the model's, as JSON text, where they were edited. ``cut_short``: the question was
    whether to run the call again, which may have taken effect.
    """

    answer: Answer
    by: UUID | None = None
    role: str = ""
    reason: str = ""
    arguments: str | None = None
    cut_short: bool = False

    def approval(self) -> Approval | None:
        if self.answer != Answer.APPROVED or self.by is None:
            return None
        return Approval(self.by, self.role, edited=self.arguments is not None)


@dataclass(frozen=True, slots=True)
class Past:
    """What happened to a step's calls before this host had the turn, by call id."""

    answers: Mapping[str, Answered] = field(default_factory=dict)
    cut_short: frozenset[str] = frozenset()


class AnsweredToolset(WrapperToolset):
    """Goes by the answers that were given: what was denied is refused, what was edited judged as it is."""

    def __init__(self, inner: Toolset, past: Past) -> None:
        super().__init__(inner)
        self._past = past

    async def judge(self, call: ToolCall) -> Verdict:
        answered = self._past.answers.get(call.id)
        if answered is None:
            return await super().judge(call)
        if answered.answer != Answer.APPROVED:
            return Verdict(Action.REFUSE, call, _refusal(answered), _outcome(answered))
        if answered.arguments is not None:
            call = ToolCall(call.id, call.name, answered.arguments, call.native)
        return await super().judge(call)

    async def call(self, call: ToolCall) -> ToolResult:
        result = await super().call(call)
        answered = self._past.answers.get(call.id)
        if answered is None or answered.arguments is None:
            return result
        # Or the model takes the result for that of what it had asked for.
        return ToolResult(
            f"(It was run with other arguments: {call.arguments})\n{result.text}", result.outcome
        )


def _outcome(answered: Answered) -> Outcome:
    if answered.cut_short:
        return Outcome.CUT_SHORT
    return Outcome.DENIED if answered.answer == Answer.DENIED else Outcome.EXPIRED


def _refusal(answered: Answered) -> str:
    why = f", saying “{answered.reason}”" if answered.reason else ""
    if answered.cut_short:
        who = "The user did not want" if answered.answer == Answer.DENIED else "Nobody wanted"
        return f"It was cut short and may have taken effect. {who} it to be run again{why}."
    if answered.answer == Answer.EXPIRED:
        return "Nobody approved it in time. Do not try it again unless you are asked to."
    return f"The user denied it{why}. Do not try it again unless you are asked to."


class ResumedToolset(WrapperToolset):
    """Knows which calls a host left in mid-run: what must not run twice only does when somebody agrees."""

    def __init__(self, inner: Toolset, past: Past, idempotent: Mapping[str, bool]) -> None:
        super().__init__(inner)
        self._past, self._idempotent = past, idempotent

    async def judge(self, call: ToolCall) -> Verdict:
        verdict = await super().judge(call)
        may_repeat = call.id not in self._past.cut_short or self._idempotent.get(call.name, False)
        if may_repeat or verdict.action is Action.REFUSE:
            return verdict
        reason = "The server that ran it stopped: it may have taken effect. Approve it to run it again."
        return replace(verdict, action=Action.ASK, reason=reason)


def parsed(call: ToolCall) -> dict[str, object]:
    """The arguments of a call that fits its schema."""
    arguments: dict[str, object] = orjson.loads(call.arguments)
    return arguments
