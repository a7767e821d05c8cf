"""The agent loop: ask the model, run the tools that it asks for, ask again, until it answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace

from somaagent.agent.calls import StepCalls, with_own_ids
from somaagent.agent.content import Reasoning
from somaagent.agent.context import Context, Window
from somaagent.agent.deadline import Deadline
from somaagent.agent.events import (
    AgentEvent,
    ContextCompacted,
    ReasoningDelta,
    RunCompleted,
    RunPaused,
    StepStarted,
    TextDelta,
)
from somaagent.agent.failures import TOO_LONG, ModelError, cut_off
from somaagent.agent.limits import Limits, too_many_failures, too_many_steps, too_much_output
from somaagent.agent.messages import NOTHING_USED, ModelMessage, ToolCall, Usage
from somaagent.agent.ports import (
    ChatModel,
    FinishChunk,
    ModelSettings,
    ReasoningChunk,
    TextChunk,
    ToolSchema,
    Toolset,
)
from somaagent.agent.step_events import StepAnswered, StepCompleted, ToolFinished
from somaagent.agent.summaries import summarise
from somaagent.texts import storable


@dataclass(frozen=True, slots=True)
class Begun:
    """A step that was cut short, or waits for approval: what its model said, and the results so far."""

    answered: StepAnswered
    finished: tuple[ToolFinished, ...] = ()


async def run(
    messages: Sequence[ModelMessage],
    *,
    model: ChatModel,
    toolset: Toolset,
    settings: ModelSettings,
    limits: Limits,
    caller_tools: Sequence[ToolSchema] = (),
    done: int = 0,
    begun: Begun | None = None,
    window: Window | None = None,
    summary: str = "",
) -> AsyncGenerator[AgentEvent, None]:
    """The events of a run, ``RunCompleted`` last, or ``RunPaused`` where calls wait for approval.

    ``toolset`` judges each call before it runs, and is the one to say whether it names a tool at all.
    ``caller_tools`` are shown to the model and run by the caller: a step that asks for one of them ends the
    run, none of its calls is run here, and they stand in the message of its ``StepCompleted``.

    ``messages`` may end anywhere that a model can go on from: a run that was cut short goes on when the
    messages of its ``StepCompleted`` events are given again, with their number as ``done``; ``begun`` is the
    step after those, where it was. Raises ``SomaError``: the model's failures as they are, or ``step_limit``,
    ``output_limit``, ``tool_failures``, ``turn_timeout``.

    With a ``window``, messages that no longer fit are summarised by the same model, the oldest first; where
    its server refuses a request as too long, it is asked once more with less. ``summary`` is of what was said
    before ``messages``. Raises ``context_too_long`` where the newest message does not fit, and
    ``summary_failed``.
    Closing the generator stops the model and the tools at once.
    """
    tools = (*toolset.schemas(), *caller_tools)
    with closing(Deadline(limits.seconds)) as deadline:
        state = _Run(
            model,
            toolset,
            tuple(caller_tools),
            settings,
            limits,
            deadline,
            Context(messages, tools=tools, window=window, summary=summary),
            {call.id for message in messages for call in message.tool_calls},
        )
        used = NOTHING_USED
        for number in range(done + 1, limits.max_steps + 1):
            step = _Step(number) if begun is None else _Step.of(begun)
            async with aclosing(state.step(step)) as events:
                async for event in events:
                    yield event
            if step.waiting:
                yield RunPaused(number)
                return
            begun = None
            used += step.used
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
    profile: str = ""
    summaries: Usage = NOTHING_USED
    ratio: float = 1.0
    reasoning: tuple[Reasoning, ...] = ()
    finished: tuple[ToolFinished, ...] = ()
    begun: bool = False
    waiting: bool = False

    @classmethod
    def of(cls, begun: Begun) -> _Step:
        said = begun.answered
        return cls(
            said.step,
            [said.message.text],
            list(said.message.tool_calls),
            said.usage,
            said.finish_reason,
            said.profile,
            ratio=said.ratio,
            reasoning=said.message.reasoning,
            finished=begun.finished,
            begun=True,
        )

    def message(self) -> ModelMessage:
        text, calls = "".join(self.text), tuple(self.calls)
        return ModelMessage("assistant", text, calls, reasoning=self.reasoning)

    @property
    def used(self) -> Usage:
        return self.summaries + self.usage

    def answered(self) -> StepAnswered:
        return StepAnswered(self.number, self.message(), self.used, self.reason, self.profile, self.ratio)

    def completed(self, results: tuple[ModelMessage, ...]) -> StepCompleted:
        return StepCompleted(
            self.number, self.message(), results, self.used, self.reason, self.profile, self.ratio
        )


@dataclass(slots=True)
class _Run:
    model: ChatModel
    toolset: Toolset
    caller_tools: tuple[ToolSchema, ...]
    settings: ModelSettings
    limits: Limits
    deadline: Deadline
    context: Context
    call_ids: set[str]
    written: int = 0
    failed_steps: int = 0

    async def step(self, step: _Step) -> AsyncGenerator[AgentEvent, None]:
        if not step.begun:
            yield StepStarted(step.number)
            async with aclosing(self._answer(step)) as answer:
                async for told in answer:
                    yield told
        if not step.calls or self.hands_back(step):
            yield step.completed(())
            return
        if not step.begun:
            step.calls = with_own_ids(step.calls, step.number, self.call_ids)
        self.call_ids.update(call.id for call in step.calls)
        calls = StepCalls(
            self.toolset,
            self.deadline,
            step.answered(),
            self.limits.max_calls,
            {finished.call_id: finished for finished in step.finished},
        )
        async with aclosing(calls.events()) as events:
            async for event in events:
                yield event
        step.waiting = calls.waiting
        if not step.waiting:
            if self.settings.tool_choice not in ("auto", "none"):
                # Whoever wants a call wants one, not one in each step until there are no more steps.
                self.settings = replace(self.settings, tool_choice=None)
            self.context.add(step.message(), *calls.results())
            yield step.completed(calls.results())
            self._judge_failures(calls)

    def _judge_failures(self, calls: StepCalls) -> None:
        self.failed_steps = self.failed_steps + 1 if calls.failed() else 0
        if self.failed_steps >= self.limits.max_failed_steps:
            raise too_many_failures(self.limits.max_failed_steps)

    def hands_back(self, step: _Step) -> bool:
        """Whether the step asks for what only the caller can run."""
        theirs = {tool.name for tool in self.caller_tools}
        return any(call.name in theirs for call in step.calls)

    async def _answer(
        self, step: _Step
    ) -> AsyncGenerator[TextDelta | ReasoningDelta | ContextCompacted, None]:
        """What the model says, after a compaction where one is due, or where its server asks for one."""
        for may_ask_again in (True, False):
            async with aclosing(self._compact(step)) as compactions:
                async for compaction in compactions:
                    yield compaction
            try:
                async with aclosing(self._ask(step)) as deltas:
                    async for delta in deltas:
                        yield delta
            except ModelError as error:
                unanswered = error.code == TOO_LONG and not error.begun and not step.text
                if not (may_ask_again and unanswered and self.context.shrink()):
                    raise
            else:
                return

    async def _compact(self, step: _Step) -> AsyncGenerator[ContextCompacted, None]:
        """Summarises what no longer fits, until the rest does."""
        while (part := self.context.excess()) is not None:
            before = self.context.size()
            summary, used = await summarise(part, self._say)
            self.context.replace(part, summary)
            step.summaries += used
            yield ContextCompacted(
                step.number, part.covers, len(part.messages), summary, before, self.context.size(), used
            )

    async def _say(self, messages: list[ModelMessage]) -> tuple[str, FinishChunk]:
        """What the model answers, whole, to something else than the run's messages."""
        text: list[str] = []
        finish: FinishChunk | None = None
        async with aclosing(self.model.stream(messages, settings=ModelSettings())) as stream:
            while (chunk := await self.deadline.next(stream)) is not None:
                if isinstance(chunk, TextChunk):
                    self._count(len(chunk.text))
                    text.append(storable(chunk.text))
                elif isinstance(chunk, FinishChunk):
                    finish = chunk
        if finish is None:
            raise cut_off()
        return "".join(text), finish

    async def _ask(self, step: _Step) -> AsyncGenerator[TextDelta | ReasoningDelta, None]:
        """The model's text and reasoning as they come; its calls, usage and reason go to ``step``."""
        tools = (*self.toolset.schemas(), *self.caller_tools)
        stream = self.model.stream(self.context.messages(), tools=tools, settings=self.settings)
        async with aclosing(stream):
            while (chunk := await self.deadline.next(stream)) is not None:
                if isinstance(chunk, TextChunk):
                    self._count(len(chunk.text))
                    text = storable(chunk.text)
                    step.text.append(text)
                    yield TextDelta(text)
                elif isinstance(chunk, ReasoningChunk):
                    self._count(len(chunk.text))
                    yield ReasoningDelta(storable(chunk.text))
                elif isinstance(chunk, FinishChunk):
                    step.usage, step.profile = chunk.usage, chunk.profile
                    step.reason = storable(chunk.reason)
                    step.reasoning = tuple(piece.storable() for piece in chunk.reasoning)
                else:
                    self._count(len(chunk.call.arguments))
                    step.calls.append(chunk.call.storable())
        if not step.reason:
            raise cut_off()
        self.context.learn(step.usage.input_tokens)
        step.ratio = self.context.ratio

    def _count(self, characters: int) -> None:
        self.written += characters
        if self.written > self.limits.max_output_chars:
            raise too_much_output(self.limits.max_output_chars)
