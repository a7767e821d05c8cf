"""Stories of calls that are judged before they run: refused, asked about, taken up again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from somaagent.agent.calls import with_own_ids
from somaagent.agent.events import AgentEvent, RunCompleted, RunPaused
from somaagent.agent.limits import Limits
from somaagent.agent.loop import Begun, run
from somaagent.agent.messages import ModelMessage, ToolCall
from somaagent.agent.ports import (
    Action,
    ModelSettings,
    Outcome,
    ToolResult,
    ToolSchema,
    Toolset,
    Verdict,
)
from somaagent.agent.step_events import (
    ApprovalRequired,
    StepAnswered,
    StepCompleted,
    ToolFinished,
    ToolStarted,
)
from somaagent.errors import SomaError
from tests.unit.agent.conftest import Bench, says

DELETE = ("delete", {"file": "report"})
READ = ("read", {"file": "report"})


class Office(Toolset):
    """``read`` may run, ``shred`` never, ``delete`` when somebody has agreed."""

    def __init__(self, agreed: Sequence[str] = ()) -> None:
        self.agreed = agreed
        self.ran: list[tuple[str, str]] = []

    def schemas(self) -> Sequence[ToolSchema]:
        return [ToolSchema(name, "Does it.", {"type": "object"}) for name in ("read", "delete", "shred")]

    async def judge(self, call: ToolCall) -> Verdict:
        if call.name == "shred":
            return Verdict(Action.REFUSE, call, "Nothing is shredded here.")
        if call.name == "delete" and call.id not in self.agreed:
            return Verdict(Action.ASK, call, "It cannot be undone.", risk="high")
        return Verdict(Action.RUN, call)

    async def call(self, call: ToolCall) -> ToolResult:
        self.ran.append((call.id, call.name))
        return ToolResult(f"{call.name} done")


def calls(*wanted: tuple[str, Any]) -> str:
    return "calls: " + json.dumps([{"name": name, "arguments": arguments} for name, arguments in wanted])


async def events_of(bench: Bench, told: str, office: Office, **more: Any) -> list[AgentEvent]:
    limits = more.pop("limits", Limits(seconds=20))
    events = run(
        says(told),
        model=bench.model(),
        toolset=office,
        settings=ModelSettings(),
        limits=limits,
        **more,
    )
    return [event async for event in events]


async def test_a_call_that_is_refused_never_runs_and_the_model_is_told_why(bench: Bench):
    office = Office()
    events = await events_of(bench, calls(("shred", {})), office)
    [finished] = [event for event in events if isinstance(event, ToolFinished)]
    assert (finished.outcome, finished.text) == (Outcome.REFUSED, "Nothing is shredded here.")
    assert not any(isinstance(event, ToolStarted) for event in events)
    assert office.ran == []
    assert isinstance(events[-1], RunCompleted)
    [_, second] = await bench.requests()
    assert second["body"]["messages"][-1]["content"] == "Error: Nothing is shredded here."


async def test_a_run_stops_at_a_call_that_somebody_must_approve_and_goes_on_with_the_answer(bench: Bench):
    told = calls(DELETE, READ)
    paused = await events_of(bench, told, Office())
    [question] = [event for event in paused if isinstance(event, ApprovalRequired)]
    assert (question.call.name, question.risk, question.reason) == ("delete", "high", "It cannot be undone.")
    assert paused[-1] == RunPaused(1)
    assert not any(isinstance(event, StepCompleted) for event in paused)

    # What is kept of it: what the model said, and the result that there is.
    [answered] = [event for event in paused if isinstance(event, StepAnswered)]
    kept = StepAnswered.from_data(json.loads(json.dumps(answered.data())))
    finished = tuple(event for event in paused if isinstance(event, ToolFinished))
    assert [event.name for event in finished] == ["read"]

    office = Office(agreed=[question.call.id])
    resumed = await events_of(bench, told, office, begun=Begun(kept, finished))
    assert [name for _, name in office.ran] == ["delete"]
    [step, _] = [event for event in resumed if isinstance(event, StepCompleted)]
    assert [result.text for result in step.results] == ["delete done", "read done"]
    assert step.usage == answered.usage
    done = resumed[-1]
    assert isinstance(done, RunCompleted)
    assert done.text == "delete done | read done"
    assert len(await bench.requests()) == 2  # the model was not asked for the same step again


async def test_the_next_step_of_a_run_that_was_taken_up_does_not_repeat_its_ids(bench: Bench):
    told = f"{calls(DELETE)}\nthen {calls(DELETE)}"
    [first] = [event for event in await events_of(bench, told, Office()) if isinstance(event, StepAnswered)]
    [call] = first.message.tool_calls
    resumed = await events_of(bench, told, Office(agreed=[call.id]), begun=Begun(first))
    [question] = [event for event in resumed if isinstance(event, ApprovalRequired)]
    assert (question.step, question.call.id == call.id) == (2, False)


async def test_what_is_not_answered_yet_is_asked_again(bench: Bench):
    told = calls(DELETE, DELETE)
    paused = await events_of(bench, told, Office())
    [answered] = [event for event in paused if isinstance(event, StepAnswered)]
    first, second = answered.message.tool_calls
    office = Office(agreed=[first.id])
    resumed = await events_of(bench, told, office, begun=Begun(answered))
    assert [event.call.id for event in resumed if isinstance(event, ApprovalRequired)] == [second.id]
    assert [call_id for call_id, _ in office.ran] == [first.id]
    assert isinstance(resumed[-1], RunPaused)


async def test_verdicts_are_told_before_anything_runs(bench: Bench):
    office = Office()
    events = run(
        says(calls(READ, DELETE)),
        model=bench.model(),
        toolset=office,
        settings=ModelSettings(),
        limits=Limits(),
    )
    async for event in events:
        if isinstance(event, StepAnswered):
            assert [verdict.action for verdict in event.verdicts] == [Action.RUN, Action.ASK]
            assert office.ran == []
    assert len(office.ran) == 1


async def test_an_agent_that_keeps_failing_is_stopped(bench: Bench):
    stubborn = "\nthen ".join([calls(("shred", {}))] * 4)
    with pytest.raises(SomaError) as caught:
        await events_of(bench, stubborn, Office(), limits=Limits(seconds=20, max_failed_steps=3))
    assert caught.value.code == "tool_failures"
    assert len(await bench.requests()) == 3


async def test_a_flood_of_calls_is_cut(bench: Bench):
    office = Office()
    events = await events_of(bench, calls(*[READ] * 30), office, limits=Limits(seconds=20, max_calls=4))
    assert len(office.ran) == 4
    refused = [event for event in events if isinstance(event, ToolFinished) and event.is_error]
    assert len(refused) == 26
    assert "at most 4 calls" in refused[0].text


def test_each_call_of_a_run_has_an_id_of_its_own():
    wild = [
        ToolCall(name, "read", "{}") for name in ("call_0", "call_0", "", "x" * 500, "née", "\n", "call_0")
    ]
    own = [call.id for call in with_own_ids(wild, 2, {"call_0"})]
    assert len(set(own)) == len(own)
    assert "call_0" not in own
    assert all(name.isascii() and name.isprintable() and len(name) <= 64 for name in own)
    assert [call.id for call in with_own_ids([ToolCall("call_9", "read", "{}")], 2, {"call_0"})] == ["call_9"]


async def test_ids_that_repeat_from_step_to_step_are_told_apart(bench: Bench):
    events = await events_of(bench, f"{calls(READ)}\nthen {calls(READ)}", Office())
    ids = [event.call.id for event in events if isinstance(event, ToolStarted)]
    assert len(ids) == len(set(ids)) == 2
    steps = [event for event in events if isinstance(event, StepCompleted) and event.results]
    assert [step.results[0].tool_call_id for step in steps] == ids
    assert isinstance(events[-1], RunCompleted)
    assert ModelMessage("tool", "read done", tool_call_id=ids[1]) == steps[1].results[0]
