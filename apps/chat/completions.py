"""Chat completions: an agent answers a conversation that its caller keeps. Nothing is stored or resumed.

The engine, the way to the model, the agent's tools and the limits are those of a turn; it has no session, row
or event stream, and nobody who could be asked for approval.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from apps.sessions import selectors as sessions
from apps.tools import toolbox
from apps.tools.tool import Caller
from apps.tools.toolsets import Progress
from somaagent.agent.coalesce import coalesce
from somaagent.agent.events import AgentEvent, RunCompleted, StepStarted, TextDelta
from somaagent.agent.limits import Limits
from somaagent.agent.loop import run
from somaagent.agent.messages import ModelMessage, Usage
from somaagent.agent.ports import ModelSettings, ToolSchema, Toolset
from somaagent.agent.toolsets import EmptyToolset
from somaagent.errors import Kind, SomaError
from somaagent.observability import metrics
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.ledger.models import Source
from somaagent.tenancy.payers import Payer
from somaagent.tenancy.scope import in_tenant

from . import charges, reach, standing
from .charges import Account
from .runner import COALESCE_SECONDS

if TYPE_CHECKING:
    from apps.sessions.models import Agent, ModelProfile

logger = structlog.get_logger(__name__)

INSTEAD = "Say so: in the chat page, by /api/v1/turns or by stored /v1/responses somebody can approve it."
SLUG = re.compile(r"[-a-zA-Z0-9_]{1,63}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller wants: an agent by its slug, the conversation, how to write, tools of the caller.

    ``summary`` is of what was said before ``messages``.
    """

    agent: str
    messages: Sequence[ModelMessage]
    settings: ModelSettings
    tools: Sequence[ToolSchema] = ()
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who answers: the agent, its model profile and those that stand in for it."""

    agent: Agent
    profiles: Sequence[ModelProfile]
    budgeted: bool

    def payer(self, actor: Actor) -> Payer:
        """Who pays for one more run of theirs."""
        agent = self.agent
        return Payer(
            actor.tenant_id, actor.user_id, Source.COMPLETION, uuid7(), actor.key_id, agent.id, agent.slug
        )


@dataclass(frozen=True, slots=True)
class Begun:
    """A run whose answer has begun: its events, and the account, which says what it used however it ends."""

    events: AsyncGenerator[AgentEvent, None]
    account: Account


def agent_chosen(*, actor: Actor, slug: str) -> Chosen:
    """Raises ``budget_exceeded`` too, where a budget of the actor's has nothing left."""
    agent = agent_named(slug=slug)
    return Chosen(agent, agent.model_profile.chain(), charges.affordable(actor, agent.id))


def agent_named(*, slug: str) -> Agent:
    """The tenant's agent. Raises ``model_not_found``: callers know agents as models."""
    agent = sessions.agent_list().filter(slug=slug).first() if SLUG.fullmatch(slug) else None
    if agent is None:
        raise model_missing(slug)
    return agent


def model_missing(slug: str) -> SomaError:
    """Why nobody answers by that name."""
    return SomaError(
        Kind.NOT_FOUND,
        "model_not_found",
        f"There is no model {slug[:80]!r} here: GET /v1/models lists the agents that answer.",
        field="body.model",
    )


async def begin(*, actor: Actor, asked: Asked) -> AsyncGenerator[AgentEvent, None]:
    """The run's events, once the first of the answer is there: a model that fails before fails this call.

    Closing the generator stops the model at once.
    """
    _check(asked.messages)
    return (await begun(actor=actor, asked=asked)).events


async def begun(*, actor: Actor, asked: Asked) -> Begun:
    """``begin``, for a caller who has looked at the lengths of the messages."""
    chosen = await in_tenant(actor.tenant_id, agent_chosen, actor=actor, slug=asked.agent)
    account = Account(chosen.payer(actor), chosen.profiles, budgeted=chosen.budgeted)
    events = standing.while_good(actor, _counted(actor, chosen, asked, account))
    return Begun(await _first_awaited(events), account)


def _check(messages: Sequence[ModelMessage]) -> None:
    """Each message may be as long as one that a user sends in a session."""
    most = settings.MESSAGE_MAX_CHARS
    for number, message in enumerate(messages):
        if len(message.text) > most:
            raise SomaError(
                Kind.TOO_LARGE,
                "message_too_long",
                f"A message may have {most} characters; this one has {len(message.text)}.",
                field=f"body.messages[{number}].content",
            )


async def _first_awaited(events: AsyncGenerator[AgentEvent, None]) -> AsyncGenerator[AgentEvent, None]:
    """The same events, the first of them awaited already."""
    first = await anext(events)

    async def all_of_them() -> AsyncGenerator[AgentEvent, None]:
        async with aclosing(events):
            yield first
            async for event in events:
                yield event

    return all_of_them()


async def _counted(
    actor: Actor, chosen: Chosen, asked: Asked, account: Account
) -> AsyncGenerator[AgentEvent, None]:
    """What the engine says about the answer, and the log and the metrics of how it ended."""
    started = time.monotonic()
    state, waiting = "failed", True
    error: SomaError | None = None
    try:
        async with aclosing(_events(actor, chosen, asked, account)) as events:
            async for event in events:
                if waiting and isinstance(event, TextDelta):
                    metrics.FIRST_TOKEN_SECONDS.observe(time.monotonic() - started)
                    waiting = False
                if isinstance(event, RunCompleted):
                    state = "completed"
                yield event
    except SomaError as raised:
        error = raised
        raise
    except (asyncio.CancelledError, GeneratorExit):
        state = state if state == "completed" else "stopped"
        raise
    finally:
        _record(chosen.agent, state, time.monotonic() - started, account.used, error)


async def _events(
    actor: Actor, chosen: Chosen, asked: Asked, account: Account
) -> AsyncGenerator[AgentEvent, None]:
    instructions = chosen.agent.instructions
    told = [ModelMessage("system", instructions)] if instructions else []
    messages = [*told, *asked.messages]
    events = run(
        messages,
        model=account.metered(await reach.model_for(chosen.profiles)),
        toolset=await _toolset(actor, chosen.agent, asked, Progress(spent=lambda: account.used)),
        settings=asked.settings,
        limits=Limits(seconds=settings.TURN_TIMEOUT_SECONDS),
        caller_tools=asked.tools,
        summary=asked.summary,
    )
    try:
        async with aclosing(coalesce(events, COALESCE_SECONDS)) as coalesced:
            async for event in coalesced:
                await account.note(event)
                if not isinstance(event, StepStarted):
                    yield event
    finally:
        # Also where the caller is gone: what the model wrote until then is paid for.
        await account.close(messages)


async def _toolset(actor: Actor, agent: Agent, asked: Asked, progress: Progress) -> Toolset:
    """The agent's own tools, but for those whose names the caller's functions have."""
    if not agent.tools:
        return EmptyToolset()
    theirs = {tool.name for tool in asked.tools}
    named = await toolbox.tools_named(actor.tenant_id, agent.tools)
    tools = {name: tool for name, tool in named.items() if name not in theirs}
    caller = Caller(actor.tenant_id, actor.user_id, actor.role, agent.slug)
    return toolbox.unattended_toolset(tools, caller, progress=progress, instead=INSTEAD)


def _record(agent: Agent, state: str, seconds: float, usage: Usage, error: SomaError | None) -> None:
    metrics.COMPLETIONS.labels(state=state).inc()
    metrics.COMPLETION_SECONDS.observe(seconds)
    metrics.count_tokens(usage.tokens())
    logger.info(
        "completion.finished",
        agent=agent.slug,
        state=state,
        seconds=round(seconds, 3),
        error=error.code if error else None,
    )
