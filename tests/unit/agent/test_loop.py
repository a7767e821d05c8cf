"""Stories of an agent's run: a real model server, and tools of these stories."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from somaagent.agent.events import AgentEvent, RunCompleted, StepStarted, TextDelta
from somaagent.agent.limits import Limits
from somaagent.agent.loop import run
from somaagent.agent.messages import ModelMessage, ToolCall
from somaagent.agent.models.anthropic import Anthropic
from somaagent.agent.models.connection import Timeouts
from somaagent.agent.models.openai_compatible import OpenAICompatible
from somaagent.agent.ports import ModelSettings, ToolResult, ToolSchema, Toolset
from somaagent.agent.step_events import StepCompleted, ToolFinished, ToolStarted
from somaagent.agent.toolsets import EmptyToolset, ValidatedToolset
from somaagent.errors import Kind, SomaError
from tests.unit.agent.conftest import Bench, says


@pytest.fixture(params=[OpenAICompatible, Anthropic])
def bench(bench: Bench, request: pytest.FixtureRequest) -> Bench:
    """Runs are the same in every protocol."""
    return replace(bench, adapter=request.param)


class Kitchen(Toolset):
    """Tools: ``boil`` takes a while, ``burn`` always fails, ``wait`` never ends."""

    def __init__(self) -> None:
        self.boiling = 0
        self.most_boiling = 0
        self.stopped = 0

    def schemas(self) -> Sequence[ToolSchema]:
        minutes = {"type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]}
        anything = {"type": "object"}
        return (
            ToolSchema("boil", "Boils water.", minutes),
            ToolSchema("burn", "Burns things.", anything),
            ToolSchema("wait", "Waits.", anything),
        )

    async def call(self, call: ToolCall) -> ToolResult:
        if call.name == "burn":
            raise SomaError(Kind.UNAVAILABLE, "fire", "The kitchen is on fire.")
        if call.name == "wait":
            await self._wait()
        self.boiling += 1
        self.most_boiling = max(self.most_boiling, self.boiling)
        await asyncio.sleep(0.05)
        self.boiling -= 1
        return ToolResult(f"boiled {json.loads(call.arguments)['minutes']} minutes")

    async def _wait(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped += 1


def start(
    bench: Bench, told: str, toolset: Toolset | None = None, limits: Limits | None = None
) -> AsyncGenerator[AgentEvent, None]:
    return run(
        says(told),
        model=bench.model(),
        toolset=ValidatedToolset(toolset or EmptyToolset()),
        settings=ModelSettings(),
        limits=limits or Limits(seconds=20),
    )


def calls(*wanted: tuple[str, object]) -> str:
    return "calls: " + json.dumps([{"name": name, "arguments": arguments} for name, arguments in wanted])


async def test_an_answer_without_tools_is_one_step(bench: Bench):
    events = [event async for event in start(bench, "slow 0.05: Hello you")]
    assert [type(event) for event in events] == [
        StepStarted,
        TextDelta,
        TextDelta,
        StepCompleted,
        RunCompleted,
    ]
    step, done = events[-2:]
    assert isinstance(step, StepCompleted)
    assert isinstance(done, RunCompleted)
    assert (step.step, step.text, step.finish_reason, done.text) == (1, "Hello you", "stop", "Hello you")
    assert step.usage == done.usage
    assert done.usage.output_tokens == 2


async def test_the_tools_of_a_step_run_side_by_side_and_the_model_goes_on_from_their_results(bench: Bench):
    kitchen = Kitchen()
    events = [
        event
        async for event in start(bench, calls(("boil", {"minutes": 3}), ("boil", {"minutes": 5})), kitchen)
    ]
    names = [event.type for event in events if not isinstance(event, TextDelta)]
    assert names == [
        "step.started",
        "step.answered",
        "tool.started",
        "tool.started",
        "tool.finished",
        "tool.finished",
        "step.completed",
        "step.started",
        "step.completed",
        "run.completed",
    ]
    assert kitchen.most_boiling == 2
    done = events[-1]
    assert isinstance(done, RunCompleted)
    assert done.text == "boiled 3 minutes | boiled 5 minutes"
    [first, _] = [event for event in events if isinstance(event, StepCompleted)]
    assert [result.tool_call_id for result in first.results] == ["call_0", "call_1"]
    assert done.usage.output_tokens > first.usage.output_tokens


async def test_a_bad_call_goes_back_to_the_model_with_the_reason(bench: Bench):
    wanted = calls(("fry", {}), ("boil", "{oops"), ("boil", {"minutes": "three"}), ("boil", ""), ("burn", ""))
    events = [event async for event in start(bench, wanted, Kitchen())]
    finished = {event.call_id: event for event in events if isinstance(event, ToolFinished)}
    assert all(event.is_error for event in finished.values())
    assert finished["call_0"].text == "There is no tool named 'fry'. Tools: boil, burn, wait."
    assert finished["call_1"].text.startswith("The arguments are not valid JSON")
    assert "minutes" in finished["call_2"].text
    assert "minutes" in finished["call_3"].text
    assert finished["call_4"].text == "The kitchen is on fire."
    [_, second] = await bench.requests()
    assert "Error: The kitchen is on fire." in str(second["body"]["messages"][-1]["content"])


async def test_a_run_that_was_cut_short_goes_on_from_its_completed_steps(bench: Bench):
    told = calls(("boil", {"minutes": 1})) + "\nthen cut after 2"
    events = start(bench, told, Kitchen())
    step = await anext(event async for event in events if isinstance(event, StepCompleted))
    with pytest.raises(SomaError, match="mid-answer"):
        _ = [event async for event in events]

    kitchen = Kitchen()
    await bench.script("say: Tea is ready")
    resumed = run(
        [*says(told), step.message, *step.results],
        model=bench.model(),
        toolset=kitchen,
        settings=ModelSettings(),
        limits=Limits(),
    )
    *_, done = [event async for event in resumed]
    assert isinstance(done, RunCompleted)
    assert done.text == "Tea is ready"
    assert kitchen.most_boiling == 0


async def test_tools_of_the_caller_are_handed_back_and_not_run(bench: Bench):
    kitchen = Kitchen()
    events = [
        event
        async for event in run(
            says(calls(("dine", {"guests": 2}), ("boil", {"minutes": 1}))),
            model=bench.model(),
            toolset=kitchen,
            settings=ModelSettings(),
            limits=Limits(seconds=20),
            caller_tools=[ToolSchema("dine", "Serves dinner.", {"type": "object"}, strict=True)],
        )
    ]
    *_, step, done = events
    assert isinstance(step, StepCompleted)
    assert isinstance(done, RunCompleted)
    assert [(call.name, json.loads(call.arguments)) for call in step.message.tool_calls] == [
        ("dine", {"guests": 2}),
        ("boil", {"minutes": 1}),
    ]
    assert (step.results, done.finish_reason, kitchen.most_boiling) == ((), "tool_calls", 0)
    [asked] = await bench.requests()
    tools = [tool.get("function", tool) for tool in asked["body"]["tools"]]
    assert [tool["name"] for tool in tools] == ["boil", "burn", "wait", "dine"]
    assert tools[-1]["strict"] is True


async def test_limits_end_a_run_with_a_reason(bench: Bench):
    endless = "\nthen ".join([calls(("boil", {"minutes": 1}))] * 4)
    slow = "slow 0.05: " + "word " * 100
    stories = [
        (endless, Limits(max_steps=2), "step_limit"),
        ("long 5000", Limits(max_output_chars=2500), "output_limit"),
        (slow, Limits(seconds=0.2), "turn_timeout"),
        (calls(("wait", {})), Limits(seconds=0.2), "turn_timeout"),
    ]
    for told, limits, code in stories:
        with pytest.raises(SomaError) as caught:
            _ = [event async for event in start(bench, told, Kitchen(), limits)]
        assert caught.value.code == code


async def test_stopping_a_run_stops_the_model(bench: Bench):
    async with aclosing(start(bench, "slow 0.05: " + "word " * 100)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
    await bench.seen("disconnected")


async def test_stopping_a_run_stops_its_tools(bench: Bench):
    kitchen = Kitchen()
    async with aclosing(start(bench, calls(("wait", {}), ("boil", {"minutes": 1})), kitchen)) as events:
        async for event in events:
            if isinstance(event, ToolFinished):
                break
    assert kitchen.stopped == 1


async def test_no_tool_runs_before_its_start_was_taken_note_of(bench: Bench):
    kitchen = Kitchen()
    async for event in start(bench, calls(("boil", {"minutes": 1})), kitchen):
        if isinstance(event, ToolStarted):
            await asyncio.sleep(0.1)
            assert kitchen.most_boiling == 0
    assert kitchen.most_boiling == 1


async def test_a_model_that_fails_fails_the_run_as_it_is(bench: Bench):
    model = bench.model(timeouts=Timeouts(connect=1, first_token=0.2, idle=0.2))
    with pytest.raises(SomaError) as caught:
        _ = [
            event
            async for event in run(
                [ModelMessage("user", "hang")],
                model=model,
                toolset=EmptyToolset(),
                settings=ModelSettings(),
                limits=Limits(),
            )
        ]
    assert caught.value.code == "model_timeout"
