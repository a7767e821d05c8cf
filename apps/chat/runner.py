"""The one turn pipeline: claim, ask the engine, append and keep what it says, finish once.

Two hosts call it: an asyncio task in a gateway and a task in a worker. A host that is stopped gives its
turn back; one that dies leaves a lease that runs out. Either way another host goes on after the last
step that was kept.
"""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import ParamSpec, TypeVar
from uuid import UUID

import orjson
import stamina
import structlog
from django.conf import settings
from django.utils import timezone

from somaagent import valkey
from somaagent.agent.coalesce import coalesce
from somaagent.agent.events import (
    RunCompleted,
    StepCompleted,
    TextDelta,
    TurnCancelled,
    TurnCompleted,
    TurnEvent,
    TurnFailed,
    TurnStarted,
)
from somaagent.agent.limits import Limits
from somaagent.agent.loop import run
from somaagent.agent.messages import Usage
from somaagent.agent.ports import ModelSettings
from somaagent.agent.toolsets import EmptyToolset
from somaagent.errors import SomaError
from somaagent.observability import metrics
from somaagent.tenancy.scope import DATABASE_AWAY, in_tenant

from . import endings, hosting, reach, stream
from .endings import Ending
from .hosting import Outcome, Work
from .models import TurnState
from .wakeups import wakeups

logger = structlog.get_logger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

COALESCE_SECONDS = 0.025
# How long a running turn waits for PostgreSQL or Valkey to come back from a restart.
PATIENCE_SECONDS = 120.0


def owner() -> str:
    """This process, as leases name it; another one with the same pid has another name."""
    return f"{socket.gethostname()}:{os.getpid()}:{_token(os.getpid())}"


@functools.lru_cache(maxsize=1)
def _token(_: int) -> str:
    return secrets.token_hex(4)


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a turn here. ``given_back``: it is unfinished and waits for another host.

    ``following``: the session's next turn, whose time has come with this one's end.
    """

    given_back: bool = False
    following: UUID | None = None


async def run_turn(turn_id: UUID, tenant_id: UUID) -> Ran:
    """Take a queued turn and answer it. Does nothing where another host took it before."""
    work = await _patiently(tenant_id, hosting.turn_claim, turn_id=turn_id, owner=owner())
    if work is None:
        return Ran()
    with structlog.contextvars.bound_contextvars(
        tenant_id=str(tenant_id), session_id=str(work.session_id), turn_id=str(turn_id)
    ):
        return await _Host(work).answer()


async def _patiently(tenant_id: UUID, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """``in_tenant``, again and again while the database is away. The function must bear to run twice."""
    retries = stamina.retry_context(
        on=DATABASE_AWAY, attempts=None, timeout=PATIENCE_SECONDS, wait_initial=0.1, wait_max=2.0
    )
    async for attempt in retries:
        with attempt:
            return await in_tenant(tenant_id, function, *args, **kwargs)
    raise AssertionError("stamina ends by returning or raising")


class _Host:
    """One turn while this process runs it."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.sequence = 0
        self.parts: list[str] = []
        self.usage = Usage()
        self.started = time.monotonic()
        self.stopped_by: TurnState | None = None

    async def answer(self) -> Ran:
        engine = asyncio.create_task(self._engine(), name=f"engine {self.work.turn_id}")
        watch = asyncio.create_task(self._watch(engine), name=f"watch {self.work.turn_id}")
        try:
            ending = await self._ending(engine)
        finally:
            engine.cancel()
            watch.cancel()
            await asyncio.gather(engine, watch, return_exceptions=True)
        if ending is None:
            return Ran()
        if ending.state is TurnState.QUEUED:
            return Ran(given_back=await self._give_back())
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
        return Ending(TurnState.COMPLETED)

    def _stopped(self) -> Ending | None:
        if self.stopped_by is TurnState.CANCELLED:
            return Ending(TurnState.CANCELLED)
        # Not cancelled and not lost: the host itself is stopped, and another one goes on.
        return Ending(TurnState.QUEUED) if self.stopped_by is None else None

    async def _engine(self) -> None:
        await self._begin()
        done = self.work.done
        if done and not done[-1].message.tool_calls:
            return  # The answer was whole; only its end was not kept.
        wanted = ModelSettings()
        events = run(
            endings.messages_of(self.work),
            model=await reach.model_for(self.work.conversation.profiles, wanted),
            toolset=EmptyToolset(),
            settings=wanted,
            limits=Limits(seconds=settings.TURN_TIMEOUT_SECONDS),
            done=len(done),
        )
        async with aclosing(coalesce(events, COALESCE_SECONDS)) as coalesced:
            async for event in coalesced:
                if isinstance(event, StepCompleted) and not await self._keep(event):
                    raise stream.StreamLost(str(self.work.turn_id))
                self._note(event)
                if not isinstance(event, RunCompleted):
                    await self._emit(event)

    async def _begin(self) -> None:
        """Say who answers. Another attempt begins the answer anew, with the steps that are done."""
        if self.work.attempt > 1:
            last = await stream.last(self.work.turn_id)
            self.sequence = last.sequence if last else 0
        await self._emit(TurnStarted(str(self.work.turn_id), self.work.attempt))
        for step in self.work.done:
            for event in (TextDelta(step.text), step) if step.text else (step,):
                self._note(event)
                await self._emit(event)

    async def _keep(self, step: StepCompleted) -> bool:
        return await _patiently(
            self.work.tenant_id,
            hosting.step_keep,
            turn_id=self.work.turn_id,
            owner=self.work.owner,
            step=step,
        )

    def _note(self, event: TurnEvent) -> None:
        if isinstance(event, TextDelta):
            if not self.parts and self.work.attempt == 1:
                waited = (timezone.now() - self.work.submitted_at).total_seconds()
                metrics.FIRST_TOKEN_SECONDS.observe(waited)
            self.parts.append(event.text)
        elif isinstance(event, StepCompleted):
            self.usage += event.usage

    async def _emit(self, event: TurnEvent) -> None:
        self.sequence += 1
        record = stream.Record(self.sequence, event.type, orjson.dumps(event.data()))
        retries = stamina.retry_context(
            on=valkey.ERRORS, attempts=None, timeout=PATIENCE_SECONDS, wait_initial=0.1, wait_max=2.0
        )
        async for attempt in retries:
            with attempt:
                await stream.append(self.work.turn_id, record)

    async def _watch(self, engine: asyncio.Task[None]) -> None:
        """Keep the lease; stop the engine when somebody cancels, or when another host has the turn."""
        async with wakeups().on(stream.cancel_channel(self.work.turn_id)) as woken:
            while True:
                woken.clear()
                state = await _patiently(
                    self.work.tenant_id,
                    hosting.turn_renew,
                    turn_id=self.work.turn_id,
                    owner=self.work.owner,
                )
                if state is not TurnState.RUNNING:
                    self.stopped_by = state or TurnState.FAILED
                    engine.cancel()
                    return
                try:
                    async with asyncio.timeout(settings.TURN_LEASE_SECONDS / 3):
                        await woken.wait()
                except TimeoutError:
                    continue

    async def _give_back(self) -> bool:
        given = await in_tenant(
            self.work.tenant_id,
            hosting.turn_give_back,
            turn_id=self.work.turn_id,
            owner=self.work.owner,
        )
        logger.info("turn.given_back", given=given)
        return given

    async def _finish(self, ending: Ending) -> UUID | None:
        failed = TurnFailed.of(ending.error) if ending.error else None
        outcome = Outcome(
            state=ending.state,
            text="".join(self.parts),
            usage=self.usage,
            last_event=self.sequence + 1,
            error_code=failed.code if failed else "",
            error_message=failed.message if failed else "",
            error_retryable=failed.retryable if failed else False,
        )
        finished = await _patiently(
            self.work.tenant_id,
            hosting.turn_finish,
            work=self.work,
            outcome=outcome,
        )
        if not finished.mine:
            logger.info("turn.gone", there=finished.there)
            if not finished.there:
                await stream.delete(self.work.turn_id)
            return finished.following
        message_id = str(finished.message_id) if finished.message_id else None
        cancelled = ending.state is TurnState.CANCELLED
        await self._emit(
            failed or (TurnCancelled() if cancelled else TurnCompleted(outcome.text, self.usage, message_id))
        )
        self._count(outcome)
        return finished.following

    def _count(self, outcome: Outcome) -> None:
        seconds = time.monotonic() - self.started
        metrics.TURNS.labels(state=outcome.state.value).inc()
        metrics.TURN_SECONDS.observe(seconds)
        for kind, count in self.usage.data().items():
            metrics.MODEL_TOKENS.labels(kind=kind.removesuffix("_tokens")).inc(count)
        logger.info(
            "turn.finished",
            state=outcome.state.value,
            attempt=self.work.attempt,
            seconds=round(seconds, 3),
            error=outcome.error_code or None,
        )
