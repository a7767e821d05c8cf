"""Celery's part: turns that no gateway hosts, and the sweep that finds them. Messages carry ids alone."""

from __future__ import annotations

from uuid import UUID

import structlog
from celery import shared_task

from somaagent.agent.events import TurnCancelled, TurnFailed
from somaagent.background import run_coroutine
from somaagent.errors import Kind, SomaError
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.selectors import tenant_ids

from . import handover, host, hosting, stream
from .schedules import tasks as _schedules  # noqa: F401 Celery looks for tasks in this module alone

logger = structlog.get_logger(__name__)


@shared_task(name=handover.TURN_RUN)
def turn_run(turn_id: str, tenant_id: str) -> None:
    """Host a turn in this process of the worker. The message is done with once the turn has its lease.

    Should the worker die, the lease runs out and the sweep sends another message.
    """
    run_coroutine(host.start_when_free(UUID(turn_id), UUID(tenant_id)))


@shared_task(name="chat.turns_sweep")
def turns_sweep() -> None:
    """Hand over turns whose host is gone, and those that nobody took."""
    for tenant_id in tenant_ids():
        with tenant_scope(tenant_id):
            swept = hosting.turns_sweep()
        for turn_id in swept.waiting:
            logger.warning("turn.waited", turn_id=str(turn_id))
            handover.to_workers(turn_id, tenant_id)
        for turn_id in swept.cancelled:
            run_coroutine(stream.conclude(turn_id, TurnCancelled()))
        for turn_id in swept.lost:
            logger.error("turn.host_lost", turn_id=str(turn_id))
            run_coroutine(stream.conclude(turn_id, TurnFailed.of(_lost())))


def _lost() -> SomaError:
    return SomaError(Kind.UNAVAILABLE, "host_lost", "The servers that were answering stopped. Try again.")
