"""The agent loop: ask the model, run the tools that it asks for, ask again, until it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from somaagent.agent.content import Reasoning
from somaagent.agent.events import (
    AgentEvent,
    ReasoningDelta,
    RunCompleted,
    StepCompleted,
    StepStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from somaagent.agent.failures import cut_off
from somaagent.agent.limits import Limits, too_many_steps, too_much_output, took_too_long
from somaagent.agent.messages import ModelMessage, ToolCall, Usage
from somaagent.agent.ports import (
    ChatModel,
    FinishChunk,
    ModelChunk,
    ModelSettings,
    ReasoningChunk,
    TextChunk,
    ToolResult,
    ToolSchema,
    Toolset,
)
from somaagent.agent.toolsets import ValidatedToolset
from somaagent.errors import SomaError


async def run(
    messages: Sequence[ModelMessage],
    *,
    model: ChatModel,
    toolset: Toolset,
    settings: ModelSettings,
    limits: Limits,
    caller_tools: Sequence[ToolSchema] = (),
    done: int = 0,
) -> AsyncGenerator[AgentEvent, None]:
    """The events of a run, ``RunCompleted`` last.

    ``caller_tools`` are shown to the model and run by the caller: a step that asks for one of them ends the
    run, none of its calls is run here, and they stand in the message of its ``StepCompleted``.

    ``messages`` may end anywhere that a model can go on from: a run that was cut short goes on when the
    messages of its ``StepCompleted`` events are given again, with their number as ``done``. Raises
    ``SomaError``: the model's failures as they are, or ``step_limit``, ``output_limit``, ``turn_timeout``.
    Closing the generator stops the model and the tools at once.
    """
    state = _Run(
        model,
        ValidatedToolset(toolset),
        tuple(caller_tools),
        settings,
        limits,
        _Deadline(limits.seconds),
        list(messages),
    )
    used = Usage()
    for number in range(done + 1, limits.max_steps + 1):
        step = _Step(number)
        async with aclosing(state.step(step)) as events:
            async for event in events:
                yield event
        used += step.usage
        if not step.calls or state.hands_back(step):
            yield RunCompleted("".join(step.text), used, step.reason)
            return
    raise too_many_steps(limits.max_steps)


@dataclass(slots=True)
class _Step:
    """What one model call gave so far."""

    number: int
    text: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    reason: str = ""
    reasoning: tuple[Reasoning, ...] = ()

    def message(self) -> ModelMessage:
        text, calls = "".join(self.text), tuple(self.calls)
        return ModelMessage("assistant", text, calls, reasoning=self.reasoning)


class _Deadline:
    """The moment at which the whole run has to be over."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._at = None if seconds is None else asyncio.get_running_loop().time() + seconds

    async def next(self, chunks: AsyncIterator[ModelChunk]) -> ModelChunk | None:
        """The next chunk, or ``None`` after the last."""
        async with asyncio.timeout_at(self._at) as clock:
            try:
                return await anext(chunks)
            except StopAsyncIteration:
                return None
            except asyncio.CancelledError:
                if clock.expired() and self._seconds is not None:
                    raise took_too_long(self._seconds) from None
                raise

    async def first(self, tasks: set[asyncio.Task[ToolFinished]]) -> set[asyncio.Task[ToolFinished]]:
        """The tasks that are done, at least one."""
        left = None if self._at is None else max(0.0, self._at - asyncio.get_running_loop().time())
        done, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if not done and self._seconds is not None:
            raise took_too_long(self._seconds)
        return done


@dataclass(slots=True)
class _Run:
    model: ChatModel
    toolset: ValidatedToolset
    caller_tools: tuple[ToolSchema, ...]
    settings: ModelSettings
    limits: Limits
    deadline: _Deadline
    messages: list[ModelMessage]
    written: int = 0

    async def step(self, step: _Step) -> AsyncGenerator[AgentEvent, None]:
        yield StepStarted(step.number)
        async with aclosing(self._ask(step)) as deltas:
            async for delta in deltas:
                yield delta
        message = step.message()
        if self.hands_back(step):
            yield StepCompleted(step.number, message, (), step.usage, step.reason)
            return
        results: dict[str, ToolFinished] = {}
        async with aclosing(self._call_tools(step)) as events:
            async for event in events:
                if isinstance(event, ToolFinished):
                    results[event.call_id] = event
                yield event
        replies = tuple(_reply(results[call.id]) for call in step.calls)
        self.messages += (message, *replies)
        yield StepCompleted(step.number, message, replies, step.usage, step.reason)

    def hands_back(self, step: _Step) -> bool:
        """Whether the step asks for what only the caller can run."""
        theirs = {tool.name for tool in self.caller_tools}
        return any(call.name in theirs for call in step.calls)

    async def _ask(self, step: _Step) -> AsyncGenerator[TextDelta | ReasoningDelta, None]:
        """The model's text and reasoning as they come; its calls, usage and reason go to ``step``."""
        tools = (*self.toolset.schemas(), *self.caller_tools)
        stream = self.model.stream(self.messages, tools=tools, settings=self.settings)
        async with aclosing(stream):
            while (chunk := await self.deadline.next(stream)) is not None:
                if isinstance(chunk, TextChunk):
                    self._count(len(chunk.text))
                    step.text.append(chunk.text)
                    yield TextDelta(chunk.text)
                elif isinstance(chunk, ReasoningChunk):
                    self._count(len(chunk.text))
                    yield ReasoningDelta(chunk.text)
                elif isinstance(chunk, FinishChunk):
                    step.usage, step.reason, step.reasoning = chunk.usage, chunk.reason, chunk.reasoning
                else:
                    self._count(len(chunk.call.arguments))
                    step.calls.append(chunk.call)
        if not step.reason:
            raise cut_off()

    def _count(self, characters: int) -> None:
        self.written += characters
        if self.written > self.limits.max_output_chars:
            raise too_much_output(self.limits.max_output_chars)

    async def _call_tools(self, step: _Step) -> AsyncGenerator[AgentEvent, None]:
        """Announces all calls of the step, then runs them side by side."""
        for call in step.calls:
            yield ToolStarted(step.number, call)
        running = {asyncio.create_task(self._call(step.number, call)) for call in step.calls}
        try:
            while running:
                for task in await self.deadline.first(running):
                    running.discard(task)
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    async def _call(self, number: int, call: ToolCall) -> ToolFinished:
        try:
            result = await self.toolset.call(call)
        except SomaError as error:
            result = ToolResult(error.message, is_error=True)
        return ToolFinished(number, call.id, call.name, result.text, result.is_error)


def _reply(finished: ToolFinished) -> ModelMessage:
    text = f"Error: {finished.text}" if finished.is_error else finished.text
    return ModelMessage("tool", text, tool_call_id=finished.call_id)
