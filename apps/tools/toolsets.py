"""The wrappers between a model's call and a tool: what runs it, what guards it, what asks the policy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import structlog

from somaagent import valkey
from somaagent.agent.messages import NOTHING_USED, ToolCall, Usage
from somaagent.agent.ports import Action, ToolResult, ToolSchema, Toolset, Verdict
from somaagent.agent.toolsets import WrapperToolset
from somaagent.errors import Kind, SomaError
from somaagent.resilience.breaker import CircuitBreaker
from somaagent.resilience.breaker import Verdict as Health
from somaagent.resilience.limiter import Rate, SharedRateLimiter
from somaagent.tenancy.patience import patiently
from somaagent.texts import storable

from . import records
from .answers import Past, parsed
from .policy import judging
from .policy.inputs import Effect, Question
from .tool import Caller, Label, Tool, TooSlow

logger = structlog.get_logger(__name__)

_BREAKER_SECONDS = 30.0
# Longer than this nobody waits for a rate limit in mid-turn.
_WAIT_SECONDS = 10.0


@dataclass(slots=True)
class Progress:
    """What a turn has come to, as the policy sees it. ``spent``: what its earlier steps used."""

    spent: Callable[[], Usage] = lambda: NOTHING_USED
    labels: set[Label] = field(default_factory=set)
    calls: int = 0

    def count(self, tool: Tool) -> None:
        self.calls += 1
        self.labels |= tool.labels


class CatalogToolset(Toolset):
    """Tools as they are: each call within its time and with a result within its length."""

    def __init__(self, tools: Mapping[str, Tool], caller: Caller, progress: Progress) -> None:
        self._tools, self._caller, self._progress = tools, caller, progress

    def schemas(self) -> Sequence[ToolSchema]:
        return [ToolSchema(tool.name, tool.description, tool.parameters) for tool in self._tools.values()]

    async def call(self, call: ToolCall) -> ToolResult:
        tool = self._tools[call.name]
        try:
            async with asyncio.timeout(tool.seconds):
                text = await tool.run(self._caller, parsed(call))
        except TimeoutError as error:
            raise TooSlow(tool.seconds) from error
        except SomaError:
            raise
        except Exception as error:
            logger.exception("tool.crashed", tool=tool.name)
            sentence = "The tool failed; the server's log says why."
            raise SomaError(Kind.UPSTREAM, "tool_crashed", sentence) from error
        finally:
            self._progress.count(tool)
        return ToolResult(_within(text, tool.most_characters))


def _within(text: str, most: int) -> str:
    text = storable(text)
    if len(text) <= most:
        return text
    return f"{text[:most]}\n[cut off: {most} of {len(text)} characters]"


def breaker_name(tenant_id: UUID, tool: Tool) -> str:
    """Of a tool's breaker, and of its rate limit."""
    return f"tool:{tenant_id}:{tool.name}"


class GuardedToolset(WrapperToolset):
    """Keeps to each tool's rate, and leaves one alone that is broken. Both are a tenant's own."""

    def __init__(self, inner: Toolset, tools: Mapping[str, Tool], caller: Caller) -> None:
        super().__init__(inner)
        self._tools, self._caller = tools, caller

    async def call(self, call: ToolCall) -> ToolResult:
        tool = self._tools[call.name]
        name = breaker_name(self._caller.tenant_id, tool)
        try:
            limiter = SharedRateLimiter(name, Rate(tool.calls_a_minute))
            await patiently(valkey.ERRORS, lambda: limiter.acquire(_WAIT_SECONDS))
            if not tool.breaker_failures:
                return await super().call(call)
            breaker = CircuitBreaker(
                name, failures=tool.breaker_failures, seconds=_BREAKER_SECONDS, judge=_judge
            )
            async with breaker.guard():
                return await super().call(call)
        except valkey.ERRORS as error:
            logger.exception("tool.guards_unavailable", tool=tool.name)
            sentence = "Valkey, which counts its calls, is away."
            raise SomaError(Kind.UNAVAILABLE, "tool_guards_unavailable", sentence) from error


def _judge(error: Exception) -> Health:
    """What the arguments brought about says nothing of the tool."""
    if isinstance(error, SomaError):
        broken = error.kind in {Kind.UPSTREAM, Kind.UNAVAILABLE}
        return Health.FAILED if broken else Health.ANSWERED
    return Health.FAILED


class PolicyToolset(WrapperToolset):
    """Asks the policy about each call, and keeps each decision."""

    def __init__(
        self, inner: Toolset, tools: Mapping[str, Tool], caller: Caller, progress: Progress, past: Past
    ) -> None:
        super().__init__(inner)
        self._tools, self._caller, self._progress, self._past = tools, caller, progress, past

    async def judge(self, call: ToolCall) -> Verdict:
        tool = self._tools[call.name]
        answered = self._past.answers.get(call.id)
        approval = answered.approval() if answered else None
        question = Question(
            caller=self._caller,
            tool=tool,
            arguments=parsed(call),
            labels=frozenset(self._progress.labels),
            calls=self._progress.calls,
            spent=self._progress.spent(),
            approval=approval,
        )
        decision = await judging.decide(question)
        await records.decision_keep(question, decision, call.id)
        if decision.effect is Effect.ALLOW:
            verdict = await super().judge(call)
        elif decision.effect is Effect.REQUIRE_APPROVAL and approval is None:
            verdict = Verdict(Action.ASK, call, decision.reason)
        else:
            verdict = Verdict(Action.REFUSE, call, f"Policy: {decision.reason}")
        return replace(verdict, risk=tool.risk.value, source=tool.source, decision=str(decision.id))


class UnattendedToolset(WrapperToolset):
    """For callers of whom nobody can be asked: what needs approval is refused, and where it is not."""

    def __init__(self, inner: Toolset, instead: str) -> None:
        super().__init__(inner)
        self._instead = instead

    async def judge(self, call: ToolCall) -> Verdict:
        verdict = await super().judge(call)
        if verdict.action is not Action.ASK:
            return verdict
        reason = f"It needs approval, and nobody can be asked here. {self._instead} ({verdict.reason})"
        return replace(verdict, action=Action.REFUSE, reason=reason)
