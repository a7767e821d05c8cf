"""Stories of events: on the wire and back, and text put together on its way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from decimal import Decimal

import pytest

from somaagent.agent.coalesce import coalesce
from somaagent.agent.events import (
    AgentEvent,
    ContextCompacted,
    RunCompleted,
    StepStarted,
    TextDelta,
    TurnCancelled,
    TurnCompleted,
    TurnEvent,
    TurnFailed,
    TurnStarted,
    UnknownEvent,
    decode,
    decode_end,
)
from somaagent.agent.failures import cut_off, refused_key
from somaagent.agent.messages import NOTHING_USED, ModelMessage, ToolCall, Usage
from somaagent.agent.ports import Outcome
from somaagent.agent.step_events import StepCompleted, ToolFinished, ToolStarted

CALL = ToolCall("call_0", "boil", "{}")
USAGE = Usage(10, 4, 3, 1) + Usage(1, 1, 1, 1)
SAID = ModelMessage("assistant", "Wait.", (CALL,))
EVERY_EVENT: list[TurnEvent] = [
    TurnStarted("0199", attempt=2),
    StepStarted(1),
    TextDelta("Grüezi\n"),
    ToolStarted(1, CALL),
    ToolFinished(1, "call_0", "boil", "hot", Outcome.FAILED),
    StepCompleted(1, SAID, (ModelMessage("tool", "hot", tool_call_id="call_0"),), USAGE, "tool_calls"),
    StepCompleted(2, SAID, (), Usage(1, 0, 1, 0, Decimal("0.0000125")), "stop", "gpt", 0.8),
    ContextCompacted(2, "conversation", 14, "Boil it.", 4000, 900, USAGE),
    RunCompleted("Done.", USAGE),
    TurnCompleted("Done.", USAGE, "0200"),
    TurnFailed.of(cut_off(), USAGE),
    TurnFailed.of(refused_key(401), NOTHING_USED),
    TurnCancelled(USAGE),
]


@pytest.mark.parametrize("event", EVERY_EVENT, ids=lambda event: event.type)
def test_an_event_comes_back_from_the_wire_as_it_was(event: TurnEvent):
    assert decode(event.type, json.loads(json.dumps(event.data()))) == event


def test_a_step_that_was_kept_before_it_said_who_answered_and_at_which_cost_is_read():
    step = StepCompleted(1, SAID, (), USAGE, "stop")
    data = step.data()
    del data["profile"], data["ratio"], data["usage"]["cost"]
    assert decode(step.type, data) == step


def test_the_end_of_a_turn_whose_host_is_of_an_older_version_is_read():
    for ended in (TurnFailed.of(cut_off(), NOTHING_USED), TurnCancelled(NOTHING_USED)):
        data = ended.data()
        del data["usage"]
        assert decode_end(ended.type, data) == ended


def test_what_ends_no_turn_is_not_read_as_its_end():
    with pytest.raises(UnknownEvent, match="no turn's last"):
        decode_end(StepStarted.type, {"step": 1})


def test_only_failures_that_may_pass_invite_to_try_again():
    assert [event.retryable for event in EVERY_EVENT if isinstance(event, TurnFailed)] == [True, False]


def test_an_event_of_another_version_is_said_to_be_unknown():
    with pytest.raises(UnknownEvent, match="no event named"):
        decode("text.sung", {})


async def _speak(*steps: str | float | AgentEvent | Exception) -> AsyncGenerator[AgentEvent, None]:
    """Text, seconds of silence, other events, and failures."""
    for step in steps:
        if isinstance(step, str):
            yield TextDelta(step)
        elif isinstance(step, float):
            await asyncio.sleep(step)
        elif isinstance(step, Exception):
            raise step
        else:
            yield step


async def test_text_that_comes_quickly_is_put_together_but_the_first_word_does_not_wait():
    source = _speak(StepStarted(1), "a", 0.001, "b", "c", 0.001, "d", 0.2, "e", RunCompleted("abcde", USAGE))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    heard = [(event, loop.time() - begun) async for event in coalesce(source, 0.05)]
    assert [event for event, _ in heard] == [
        StepStarted(1),
        TextDelta("a"),
        TextDelta("bcd"),
        TextDelta("e"),
        RunCompleted("abcde", USAGE),
    ]
    assert heard[1][1] < 0.04


async def test_another_event_flushes_the_text_before_it():
    source = _speak("a", 0.01, "b", StepStarted(2), "c", 0.01, "d")
    async with asyncio.timeout(5):
        heard = [event async for event in coalesce(source, 60.0)]
    assert heard == [TextDelta("a"), TextDelta("b"), StepStarted(2), TextDelta("c"), TextDelta("d")]


async def test_what_was_said_before_a_failure_is_heard_before_it():
    events = coalesce(_speak("a", 0.01, "b", RuntimeError("struck dumb")), 60.0)
    assert [await anext(events), await anext(events)] == [TextDelta("a"), TextDelta("b")]
    with pytest.raises(RuntimeError, match="struck"):
        await anext(events)


async def test_the_source_waits_while_its_reader_is_busy_with_an_event():
    went_on = False

    async def source() -> AsyncGenerator[AgentEvent, None]:
        nonlocal went_on
        yield TextDelta("a")
        yield ToolStarted(1, CALL)
        went_on = True
        yield TextDelta("b")

    async for event in coalesce(source(), 0.01):
        if isinstance(event, ToolStarted):
            await asyncio.sleep(0.05)
            assert not went_on
    assert went_on


@pytest.mark.parametrize("way", ["closed", "cancelled"])
async def test_a_reader_that_leaves_ends_the_source_before_it_goes(way: str):
    ended = False

    async def source() -> AsyncGenerator[AgentEvent, None]:
        nonlocal ended
        try:
            yield TextDelta("a")
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended = True

    async def read(*, leave: bool) -> None:
        async with aclosing(coalesce(source(), 0.01)) as events:
            async for _ in events:
                if leave:
                    return

    if way == "closed":
        await read(leave=True)
    else:
        task = asyncio.create_task(read(leave=False))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended
    assert len(asyncio.all_tasks()) == 1
