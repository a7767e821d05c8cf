"""Celery's part: turns that no gateway hosts, and the sweep that finds them. Messages carry ids alone."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.selectors import tenant_ids

from . import handover, host, hosting, sweeping
from .schedules import tasks as _schedules  # noqa: F401 Celery looks for tasks in this module alone


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
        sweeping.tell(tenant_id, swept)
