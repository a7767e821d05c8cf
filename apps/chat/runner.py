"""The one turn pipeline: claim, ask the engine, append and keep what it says, finish once.

Two hosts call it: an asyncio task in a gateway and a task in a worker.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import aclosing
from uuid import UUID

import orjson
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
from somaagent.agent.messages import ModelMessage, Usage
from somaagent.agent.ports import ModelSettings
from somaagent.agent.toolsets import EmptyToolset
from somaagent.errors import Kind, SomaError
from somaagent.observability import metrics
from somaagent.tenancy.scope import in_tenant

from . import reach, services, stream
from .models import TurnState
from .services import Outcome, Work
from .wakeups import wakeups

logger = structlog.get_logger(__name__)

COALESCE_SECONDS = 0.025
KEY_REFUSED = "model_refused_key"


def owner() -> str:
    """This process, as leases name it."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def run_turn(turn_id: UUID, tenant_id: UUID) -> None:
    """Take a queued turn and answer it. Does nothing where another host took it before."""
    work = await in_tenant(tenant_id, services.turn_claim, turn_id=turn_id, owner=owner())
    if work is None:
        return
    with structlog.contextvars.bound_contextvars(
        tenant_id=str(tenant_id), session_id=str(work.session_id), turn_id=str(turn_id)
    ):
        await _Host(work).answer()


class _Host:
    """One turn while this process runs it."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.owner = owner()
        self.sequence = 0
        self.parts: list[str] = []
        self.usage = Usage()
        self.started = time.monotonic()
        self.stopped_by: TurnState | None = None

    async def answer(self) -> None:
        engine = asyncio.create_task(self._engine(), name=f"engine {self.work.turn_id}")
        watch = asyncio.create_task(self._watch(engine), name=f"watch {self.work.turn_id}")
        try:
            ending = await self._ending(engine)
        finally:
            engine.cancel()
            watch.cancel()
            await asyncio.gather(engine, watch, return_exceptions=True)
        if ending is not None:
            await self._finish(*ending)

    async def _ending(self, engine: asyncio.Task[None]) -> tuple[TurnState, SomaError | None] | None:
        """How the engine ended; None when the turn is no longer this host's."""
        try:
            await engine
        except asyncio.CancelledError:
            return self._stopped()
        except stream.StreamLost:
            logger.warning("turn.lost")
            return None
        except SomaError as error:
            if error.code == KEY_REFUSED:
                reach.key_refused(self.work.conversation)
            return TurnState.FAILED, error
        except Exception as error:  # noqa: BLE001 whatever it is, the turn must end; it is logged there
            return TurnState.FAILED, _unexpected(error)
        return TurnState.COMPLETED, None

    def _stopped(self) -> tuple[TurnState, SomaError | None] | None:
        if self.stopped_by is TurnState.CANCELLED:
            return TurnState.CANCELLED, None
        if self.stopped_by is None:
            # The host itself is stopped: say so, rather than leave the turn to its lease.
            return TurnState.FAILED, _host_stopped()
        return None

    async def _engine(self) -> None:
        await self._emit(TurnStarted(str(self.work.turn_id), self.work.attempt))
        conversation = self.work.conversation
        profile = conversation.profile
        events = run(
            _messages(self.work),
            model=await reach.model_for(conversation),
            toolset=EmptyToolset(),
            settings=ModelSettings(
                temperature=profile.temperature, max_output_tokens=profile.max_output_tokens
            ),
            limits=Limits(seconds=settings.TURN_TIMEOUT_SECONDS),
        )
        async with aclosing(coalesce(events, COALESCE_SECONDS)) as coalesced:
            async for event in coalesced:
                self._note(event)
                if not isinstance(event, RunCompleted):
                    await self._emit(event)

    def _note(self, event: TurnEvent) -> None:
        if isinstance(event, TextDelta):
            if not self.parts:
                waited = (timezone.now() - self.work.submitted_at).total_seconds()
                metrics.FIRST_TOKEN_SECONDS.observe(waited)
            self.parts.append(event.text)
        elif isinstance(event, StepCompleted):
            self.usage += event.usage

    async def _emit(self, event: TurnEvent) -> None:
        self.sequence += 1
        record = stream.Record(self.sequence, event.type, orjson.dumps(event.data()))
        await stream.append(self.work.turn_id, record)

    async def _watch(self, engine: asyncio.Task[None]) -> None:
        """Keep the lease; stop the engine when somebody cancels, or when another host has the turn."""
        async with wakeups().on(stream.cancel_channel(self.work.turn_id)) as woken:
            while True:
                woken.clear()
                state = await in_tenant(
                    self.work.tenant_id, services.turn_renew, turn_id=self.work.turn_id, owner=self.owner
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

    async def _finish(self, state: TurnState, error: SomaError | None) -> None:
        failed = TurnFailed.of(error) if error else None
        outcome = Outcome(
            state=state,
            text="".join(self.parts),
            usage=self.usage,
            last_event=self.sequence + 1,
            error_code=failed.code if failed else "",
            error_message=failed.message if failed else "",
            error_retryable=failed.retryable if failed else False,
        )
        mine, message_id = await in_tenant(
            self.work.tenant_id,
            services.turn_finish,
            turn_id=self.work.turn_id,
            owner=self.owner,
            outcome=outcome,
        )
        if not mine:
            logger.info("turn.gone")
            await stream.delete(self.work.turn_id)
            return
        final = failed or (
            TurnCancelled()
            if state is TurnState.CANCELLED
            else TurnCompleted(outcome.text, self.usage, str(message_id) if message_id else None)
        )
        await self._emit(final)
        seconds = time.monotonic() - self.started
        metrics.TURNS.labels(state=state.value).inc()
        metrics.TURN_SECONDS.observe(seconds)
        for kind, count in self.usage.data().items():
            metrics.MODEL_TOKENS.labels(kind=kind.removesuffix("_tokens")).inc(count)
        logger.info(
            "turn.finished", state=state.value, seconds=round(seconds, 3), error=outcome.error_code or None
        )


def _messages(work: Work) -> list[ModelMessage]:
    conversation = work.conversation
    messages = [ModelMessage("system", conversation.instructions)] if conversation.instructions else []
    for role, text in conversation.messages:
        messages.append(ModelMessage("user" if role == "user" else "assistant", text))
    return messages


def _host_stopped() -> SomaError:
    return SomaError(Kind.UNAVAILABLE, "host_stopped", "The server is stopping. Try again in a moment.")


def _unexpected(error: Exception) -> SomaError:
    if isinstance(error, valkey.ERRORS):
        logger.error("turn.events_unavailable", exc_info=error)
        return SomaError(
            Kind.UNAVAILABLE, "events_unavailable", "Valkey, which carries the events, is away. Try again."
        )
    logger.error("turn.crashed", exc_info=error)
    return SomaError(
        Kind.UPSTREAM, "internal", "The server failed at this turn; its log says why, under the turn's id."
    )
