"""Celery's part: turns that no gateway hosts, and the sweep that finds them. Messages carry ids alone."""

from __future__ import annotations

from uuid import UUID

import orjson
import structlog
from celery import shared_task

from somaagent.agent.events import TurnFailed
from somaagent.background import run_coroutine
from somaagent.errors import Kind, SomaError
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.selectors import tenant_ids

from . import services, stream
from .runner import run_turn

logger = structlog.get_logger(__name__)


@shared_task(name="chat.turn_run")
def turn_run(turn_id: str, tenant_id: str) -> None:
    """Host a turn in the worker."""
    run_coroutine(run_turn(UUID(turn_id), UUID(tenant_id)))


@shared_task(name="chat.turns_sweep")
def turns_sweep() -> None:
    """End turns whose host is gone; hand over those that nobody took."""
    for tenant_id in tenant_ids():
        with tenant_scope(tenant_id):
            swept = services.turns_sweep()
        for turn_id in swept.lost:
            logger.warning("turn.host_lost", turn_id=str(turn_id))
            run_coroutine(_say_lost(turn_id))
        for turn_id in swept.waiting:
            logger.warning("turn.waited", turn_id=str(turn_id))
            turn_run.delay(str(turn_id), str(tenant_id))


async def _say_lost(turn_id: UUID) -> None:
    """Tell who follows the turn how it ended."""
    last = await stream.last(turn_id)
    error = TurnFailed.of(
        SomaError(Kind.UNAVAILABLE, "host_lost", "The server that was answering stopped. Try again.")
    )
    sequence = last.sequence + 1 if last else 1
    if last is None or not last.final:
        await stream.append(turn_id, stream.Record(sequence, error.type, orjson.dumps(error.data())))
