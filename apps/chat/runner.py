"""The one turn pipeline: claim, ask the engine, append and keep what it says, finish once.

Two hosts call it: an asyncio task in a gateway and a task in a worker. A host that is stopped gives its
turn back; one that dies leaves a lease that runs out. Either way another host goes on after the last
step that was kept.
"""

from __future__ import annotations

import asyncio
import functools
import time
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

import structlog
from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from apps.tools import toolbox
from apps.tools.toolsets import Progress
from somaagent import valkey
from somaagent.agent.coalesce import coalesce
from somaagent.agent.events import (
    AgentEvent,
    ContextCompacted,
    ReasoningDelta,
    RunCompleted,
    RunPaused,
    StepStarted,
    TextDelta,
    TurnAwaitingApproval,
    TurnCancelled,
    TurnCompleted,
    TurnEvent,
    TurnFailed,
    TurnStarted,
)
from somaagent.agent.limits import Limits
from somaagent.agent.loop import run
from somaagent.agent.messages import NOTHING_USED
from somaagent.agent.ports import ChatModel, ModelSettings, Toolset
from somaagent.agent.ports import Outcome as CallOutcome
from somaagent.agent.step_events import StepAnswered, StepCompleted, ToolFinished
from somaagent.agent.toolsets import EmptyToolset
from somaagent.errors import SomaError
from somaagent.observability import metrics
from somaagent.tenancy.patience import patiently, performed_patiently
from somaagent.tenancy.scope import DATABASE_AWAY, in_database, in_tenant

from . import endings, hosting, reach, stepping, stream
from .endings import Ending, Unended
from .hosting import Outcome
from .keeping import Keeping
from .leases import leases
from .meter import MeteredModel
from .models import TurnState
from .owner import owner
from .telling import Teller
from .webhooks import services as webhooks
from .work import Work

logger = structlog.get_logger(__name__)

COALESCE_SECONDS = 0.025
# Calls that were kept as done when they were judged.
NEVER_RAN = frozenset({CallOutcome.REFUSED, CallOutcome.DENIED, CallOutcome.EXPIRED})
# For events on their way to Valkey, when a turn is given back.
LAST_WORDS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a turn here. ``given_back``: it is unfinished and waits for another host.

    ``following``: the session's next turn, whose time has come with this one's end.
    """

    given_back: bool = False
    following: UUID | None = None


async def run_turn(turn_id: UUID, tenant_id: UUID) -> Ran:
    """Take a queued turn and answer it. Does nothing where another host took it before."""
    claim = functools.partial(hosting.turn_claim, tenant_id=tenant_id, turn_id=turn_id, owner=owner())
    try:
        work = await performed_patiently(tenant_id, claim)
    except IntegrityError:
        return Ran()  # in the same moment another turn of its session was taken, and will call it
    return await run_work(work) if work is not None else Ran()


async def run_work(work: Work, keeping: Keeping | None = None) -> Ran:
    """Answer a turn that this process has taken; with ``keeping``, if it is kept."""
    with structlog.contextvars.bound_contextvars(
        tenant_id=str(work.tenant_id), session_id=str(work.session_id), turn_id=str(work.turn_id)
    ):
        return await _Host(work, keeping).answer()


class _Host:
    """One turn while this process runs it."""

    def __init__(self, work: Work, keeping: Keeping | None) -> None:
        self.work = work
        self.keeping = keeping
        self.teller = Teller(work.turn_id, keeping)
        self.parts: list[str] = []
        self.last_step: StepCompleted | None = None
        self.usage = NOTHING_USED
        # Of a step that is not done: they count when it is, or at the end.
        self.summaries = NOTHING_USED
        self.begun_usage = NOTHING_USED
        self.summarised = 0
        self.unended: Unended | None = None
        # Those that came to their end here.
        self.steps: list[StepCompleted] = []
        self.paused = False
        self.counts_on = work.attempt == 1
        self.started = time.monotonic()
        self.stopped_by: TurnState | None = None
        self.before = self._before()

    async def answer(self) -> Ran:
        engine = asyncio.create_task(self._engine(), name=f"engine {self.work.turn_id}")
        try:
            if self.keeping is None or await self.keeping.kept():
                with leases().held(self.work, functools.partial(self._stop, engine)):
                    ending = await self._ending(engine)
            else:
                ending = None
        finally:
            engine.cancel()
            await asyncio.gather(engine, return_exceptions=True)
        if ending is None:
            await self.teller.stop(0)
            return Ran()
        if ending.state is TurnState.QUEUED:
            # The next host counts on from the last event that is there: none may come after that.
            await self.teller.stop(LAST_WORDS_SECONDS)
            return await self._give_back()
        if ending.state is TurnState.AWAITING_APPROVAL:
            return await self._pause()
        return Ran(following=await self._finish(ending))

    async def _ending(self, engine: asyncio.Task[None]) -> Ending | None:
        """How the engine ended; None when the turn is no longer this host's."""
        try:
            await engine
        except asyncio.CancelledError:
            return self._stopped()
        except stream.StreamLost:
            logger.warning("turn.lost")
            return None
        except SomaError as error:
            return Ending(TurnState.FAILED, error)
        except Exception as error:  # noqa: BLE001 whatever it is, the turn must end; it is logged there
            return endings.unexpected(error)
        return Ending(TurnState.AWAITING_APPROVAL if self.paused else TurnState.COMPLETED)

    def _stop(self, engine: asyncio.Task[None], state: TurnState) -> None:
        """Somebody cancelled the turn, or another host has it."""
        self.stopped_by = state
        engine.cancel()

    def _stopped(self) -> Ending | None:
        if self.stopped_by is TurnState.CANCELLED:
            return Ending(TurnState.CANCELLED)
        # Not cancelled and not lost: the host itself is stopped, and another one goes on.
        return Ending(TurnState.QUEUED) if self.stopped_by is None else None

    async def _engine(self) -> None:
        await self._begin()
        done = self.work.done
        if done and not done[-1].results:
            return  # The answer was whole; only its end was not kept.
        request, conversation = self.work.request, self.work.conversation
        wanted = request.settings if request else ModelSettings()
        events = run(
            endings.messages_of(self.work),
            model=await self._model(),
            toolset=await self._toolset(),
            settings=wanted,
            limits=Limits(seconds=settings.TURN_TIMEOUT_SECONDS),
            caller_tools=request.tools if request else (),
            done=len(done),
            begun=self.work.taken_up.begun if self.work.taken_up else None,
            window=reach.window_of(conversation.profiles[0], conversation.ratio),
            summary=conversation.summary,
        )
        async with aclosing(coalesce(events, COALESCE_SECONDS)) as coalesced:
            async for event in coalesced:
                await self._take(event)

    async def _model(self) -> ChatModel:
        conversation = self.work.conversation
        model = await reach.model_for(conversation.profiles)
        if not self.work.budgeted:
            return model
        lease = settings.TURN_LEASE_SECONDS
        return MeteredModel(model, self.work.payer(), conversation.profiles, lease, conversation.ratio)

    async def _toolset(self) -> Toolset:
        """What the turn's agent may use, and what became of the calls that another host began."""
        work = self.work
        if not work.tools:
            return EmptyToolset()
        named = functools.partial(toolbox.tools_named, work.tenant_id, work.tools)
        tools = await patiently((*valkey.ERRORS, *DATABASE_AWAY), named)
        progress = Progress(spent=lambda: self.usage)
        past = work.taken_up
        for name in work.tools_called():
            if name in tools:
                progress.count(tools[name])
        return toolbox.toolset(
            tools, work.caller(), progress=progress, past=past.past if past else toolbox.NOTHING_PAST
        )

    async def _take(self, event: AgentEvent) -> None:
        """Keep and tell what the engine says."""
        self._note(event)
        if isinstance(event, StepCompleted):
            self.steps.append(event)
        if isinstance(event, RunPaused):
            self.paused = True
            return
        if isinstance(event, StepCompleted) and not event.results:
            self.last_step = event  # kept and told with the turn's end, which it is
            return
        if not await self._keep(event):
            raise stream.StreamLost(str(self.work.turn_id))
        if isinstance(event, StepStarted):
            self.teller.tell_along(event)
        elif not isinstance(event, RunCompleted | StepAnswered):
            self.teller.tell(event)

    def _before(self) -> list[TurnEvent]:
        """What hosts before this one kept: told anew, it is a part of the answer and of what that used."""
        told: list[TurnEvent] = []
        for step in self.work.done:
            told += (TextDelta(step.text), step) if step.text else (step,)
        if (past := self.work.taken_up) is not None:
            said = past.begun.answered.message.text
            told += [*([TextDelta(said)] if said else []), *past.begun.finished, *past.answers]
        for event in told:
            self._note(event)
        if past is not None:
            self.begun_usage = past.begun.answered.usage
        return told

    async def _begin(self) -> None:
        """Say who answers. Another attempt begins the answer anew, with the steps that are done."""
        await self._count_on()
        self.teller.tell_along(TurnStarted(str(self.work.turn_id), self.work.attempt), *self.before)

    async def _count_on(self) -> None:
        """Number events from the last one on that another host told, also where that is no longer kept."""
        if not self.counts_on:
            last = await stream.last(self.work.turn_id)
            self.teller.sequence = max(last.sequence if last else 0, self.work.last_event)
            self.counts_on = True

    async def _keep(self, event: AgentEvent) -> bool:
        """Keep what another host has to know. False when it has the turn already."""
        if isinstance(event, StepCompleted):
            keep = functools.partial(hosting.step_keep, work=self.work, step=event)
        elif isinstance(event, StepAnswered):
            used = self.usage + self.begun_usage
            keep = functools.partial(stepping.step_begin, work=self.work, answered=event, used=used)
        elif isinstance(event, ToolFinished) and event.outcome not in NEVER_RAN:
            keep = functools.partial(stepping.call_finish, work=self.work, finished=event)
        elif isinstance(event, ContextCompacted) and event.covers == "conversation":
            self.summarised += event.messages
            last = self.work.conversation.last_of(self.summarised)
            if last is None:
                return True  # it stands for a part of a message, which is read again
            keep = functools.partial(
                hosting.summary_keep, work=self.work, message_id=last, summary=event.summary
            )
        else:
            return True
        if self.keeping is not None and not await self.keeping.kept():
            return False
        return await performed_patiently(self.work.tenant_id, keep)

    def _note(self, event: TurnEvent) -> None:
        if isinstance(event, StepStarted):
            self.unended = Unended(event.step)
        elif self.unended and isinstance(event, TextDelta | ReasoningDelta):
            self.unended.written.append(event.text)
        if isinstance(event, TextDelta):
            if not self.parts and self.work.attempt == 1:
                waited = (timezone.now() - self.work.submitted_at).total_seconds()
                metrics.FIRST_TOKEN_SECONDS.observe(waited)
            self.parts.append(event.text)
        elif isinstance(event, ContextCompacted):
            self.summaries += event.usage
            self._tell(event)
        elif isinstance(event, StepAnswered):
            self.begun_usage, self.summaries, self.unended = event.usage, NOTHING_USED, None
        elif isinstance(event, StepCompleted):
            self.usage += event.usage
            self.begun_usage, self.summaries, self.unended = NOTHING_USED, NOTHING_USED, None

    def _tell(self, compacted: ContextCompacted) -> None:
        metrics.COMPACTIONS.labels(covers=compacted.covers).inc()
        logger.info(
            "context.compacted",
            covers=compacted.covers,
            messages=compacted.messages,
            tokens_before=compacted.tokens_before,
            tokens_after=compacted.tokens_after,
        )

    async def _pause(self) -> Ran:
        """Leave the turn to those who are asked. Where they have answered in the meantime, it goes on."""
        ask = functools.partial(stepping.first_expiry, turn_id=self.work.turn_id)
        expires_at = await performed_patiently(self.work.tenant_id, ask)
        if expires_at is not None:
            self.teller.tell(TurnAwaitingApproval(expires_at.isoformat()))
        await self.teller.told()  # the next host counts on from there
        pause = functools.partial(stepping.turn_pause, work=self.work, last_event=self.teller.sequence)
        paused = await performed_patiently(self.work.tenant_id, pause)
        logger.info("turn.paused", state=paused)
        if paused is TurnState.CANCELLED:
            return Ran(following=await self._finish(Ending(TurnState.CANCELLED)))
        return Ran(following=self.work.turn_id if paused is TurnState.QUEUED else None)

    async def _give_back(self) -> Ran:
        given = await in_tenant(self.work.tenant_id, hosting.turn_give_back, work=self.work)
        logger.info("turn.given_back", state=given)
        if given is TurnState.CANCELLED:
            return Ran(following=await self._finish(Ending(TurnState.CANCELLED)))
        return Ran(given_back=given is TurnState.QUEUED)

    async def _finish(self, ending: Ending) -> UUID | None:
        await patiently(valkey.ERRORS, self._count_on)
        cut_short = endings.cut_short(self.work, self.unended, self.summaries, self.steps)
        # What came to no end is paid for as well, summaries that were made for it included.
        self.usage += self.begun_usage + (cut_short.usage if cut_short else NOTHING_USED)
        failed = TurnFailed.of(ending.error, self.usage) if ending.error else None
        outcome = Outcome(
            state=ending.state,
            text="".join(self.parts),
            usage=self.usage,
            last_event=self.teller.sequence + (2 if self.last_step else 1),
            error_code=failed.code if failed else "",
            error_message=failed.message if failed else "",
            error_retryable=failed.retryable if failed else False,
            step=self.last_step,
            cut_short=cut_short,
        )
        finish = functools.partial(hosting.turn_finish, work=self.work, outcome=outcome)
        finished = await performed_patiently(self.work.tenant_id, finish)
        if not finished.mine:
            logger.info("turn.gone", there=finished.there)
            if not finished.there:
                await stream.delete(self.work.turn_id)
            return finished.following
        message_id = str(finished.message_id) if finished.message_id else None
        cancelled = ending.state is TurnState.CANCELLED
        ended = (
            TurnCancelled(self.usage) if cancelled else TurnCompleted(outcome.text, self.usage, message_id)
        )
        self.teller.tell(*([self.last_step] if self.last_step else []), failed or ended)
        await self.teller.told()
        self._count(outcome)
        if finished.deliveries:
            await in_database(webhooks.wake_workers, finished.deliveries, self.work.tenant_id)
        return finished.following

    def _count(self, outcome: Outcome) -> None:
        seconds = time.monotonic() - self.started
        metrics.TURNS.labels(state=outcome.state.value).inc()
        metrics.TURN_SECONDS.observe(seconds)
        metrics.count_tokens(self.usage.tokens())
        logger.info(
            "turn.finished",
            state=outcome.state.value,
            attempt=self.work.attempt,
            seconds=round(seconds, 3),
            error=outcome.error_code or None,
        )
