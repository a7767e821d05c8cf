"""The calls of a step: each is judged first, then those that may run do, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from somaagent.agent.deadline import Deadline
from somaagent.agent.messages import ModelMessage, ToolCall
from somaagent.agent.ports import Action, Outcome, ToolResult, Toolset, Verdict
from somaagent.agent.step_events import ApprovalRequired, StepAnswered, ToolFinished, ToolStarted
from somaagent.errors import SomaError
from somaagent.texts import storable

CallEvent = StepAnswered | ApprovalRequired | ToolStarted | ToolFinished

# What protocols take as a call's id, and as much of it as anybody needs.
_LONGEST_ID = 64


@dataclass(slots=True)
class StepCalls:
    """A step's calls on their way to their results. ``finished``, by call id, may begin with results that
    were kept; ``waiting`` is true when some of the others wait for approval.
    """

    toolset: Toolset
    deadline: Deadline
    answered: StepAnswered
    most: int
    finished: dict[str, ToolFinished] = field(default_factory=dict)
    waiting: bool = False

    async def events(self) -> AsyncGenerator[CallEvent, None]:
        """The step with its verdicts, then what happens to each call.

        Nothing runs before the events up to the last ``ToolStarted`` have been taken.
        """
        verdicts = [replace(verdict, reason=storable(verdict.reason)) for verdict in await self._judged()]
        yield replace(self.answered, verdicts=tuple(verdicts))
        number = self.answered.step
        for verdict in verdicts:
            if verdict.action is Action.REFUSE:
                yield self._finish(verdict.call, ToolResult(verdict.reason, verdict.outcome))
            elif verdict.action is Action.ASK:
                self.waiting = True
                yield ApprovalRequired(number, verdict.call, verdict.reason, verdict.risk)
        running = [verdict.call for verdict in verdicts if verdict.action is Action.RUN]
        for call in running:
            yield ToolStarted(number, call)
        tasks = {asyncio.create_task(self._run(call)): call for call in running}
        try:
            while tasks:
                for task in await self.deadline.first(tasks):
                    yield self._finish(tasks.pop(task), task.result())
        finally:
            await _stop(tasks)

    def results(self) -> tuple[ModelMessage, ...]:
        """The calls' messages for the model, in the order of its calls."""
        return tuple(self.finished[call.id].message() for call in self.answered.message.tool_calls)

    def failed(self) -> bool:
        """Whether not one of the calls came to a result."""
        return all(finished.is_error for finished in self.finished.values())

    async def _judged(self) -> list[Verdict]:
        calls = self.answered.message.tool_calls
        open_calls = [call for call in calls[: self.most] if call.id not in self.finished]
        tasks = {asyncio.create_task(self.toolset.judge(call)): call for call in open_calls}
        pending: dict[asyncio.Task[Verdict], ToolCall] = dict(tasks)
        try:
            while pending:
                for task in await self.deadline.first(pending):
                    del pending[task]
        finally:
            await _stop(pending)
        return [task.result() for task in tasks] + self._too_many(calls[self.most :])

    def _too_many(self, calls: Sequence[ToolCall]) -> list[Verdict]:
        reason = f"A step makes at most {self.most} calls: this one is left out."
        return [Verdict(Action.REFUSE, call, reason) for call in calls if call.id not in self.finished]

    async def _run(self, call: ToolCall) -> ToolResult:
        try:
            return await self.toolset.call(call)
        except SomaError as error:
            return ToolResult(error.message, Outcome.FAILED)

    def _finish(self, call: ToolCall, result: ToolResult) -> ToolFinished:
        finished = ToolFinished(self.answered.step, call.id, call.name, storable(result.text), result.outcome)
        self.finished[call.id] = finished
        return finished


async def _stop(
    tasks: Mapping[asyncio.Task[ToolResult], ToolCall] | Mapping[asyncio.Task[Verdict], ToolCall],
) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def with_own_ids(calls: Sequence[ToolCall], step: int, used: Collection[str]) -> list[ToolCall]:
    """The calls of a step, each under an id that its run has not seen: servers count anew in each answer,
    leave ids out, or write what they like.
    """
    taken, own = set(used), []
    for place, call in enumerate(calls, 1):
        wanted = (
            call.id if call.id.isascii() and call.id.isprintable() and len(call.id) <= _LONGEST_ID else ""
        )
        number, name = 0, wanted
        while not name or name in taken:
            name = f"call_{step}_{place}" + (f"_{number}" if number else "")
            number += 1
        taken.add(name)
        own.append(replace(call, id=name))
    return own
