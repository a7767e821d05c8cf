"""Celery's part: the sweep that runs what is due."""

from __future__ import annotations

import time
from datetime import datetime
from uuid import UUID

import structlog
from celery import shared_task
from django.utils import timezone

from somaagent.observability import metrics
from somaagent.tenancy.scope import DATABASE_AWAY, tenant_scope
from somaagent.tenancy.selectors import live_tenant_ids

from . import runs, selectors

logger = structlog.get_logger(__name__)

# Of one tenant in one sweep; the next one goes on.
MOST_AT_ONCE = 500
# A sweep goes on no longer than this, so that the ones after it do not pile up.
SWEEP_SECONDS = 60.0


@shared_task(name="chat.schedules_sweep")
def schedules_sweep() -> None:
    """Run all schedules whose time has come. Two sweeps at once share them; neither runs one twice."""
    until = time.monotonic() + SWEEP_SECONDS
    for tenant_id in live_tenant_ids():
        with tenant_scope(tenant_id):
            due = selectors.schedules_due(now=timezone.now(), most=MOST_AT_ONCE)
        for schedule_id, planned_at in due:
            if time.monotonic() > until:
                logger.warning("schedules.sweep_cut_short", seconds=SWEEP_SECONDS)
                return
            _run(tenant_id, schedule_id, planned_at)


def _run(tenant_id: UUID, schedule_id: UUID, planned_at: datetime) -> None:
    log = logger.bind(schedule_id=str(schedule_id), planned_at=planned_at.isoformat())
    try:
        with tenant_scope(tenant_id):
            came = runs.run_due(schedule_id=schedule_id, planned_at=planned_at)
    except DATABASE_AWAY:
        raise
    except Exception:
        # One that cannot be run must not keep the others from theirs. It is still due: the next sweep tries.
        metrics.SCHEDULE_RUNS.labels(outcome="crashed").inc()
        log.exception("schedule.crashed")
        return
    if came is None:
        return
    run = came.run
    metrics.SCHEDULE_RUNS.labels(outcome=run.outcome).inc()
    metrics.SCHEDULE_LATENESS_SECONDS.observe(came.late)
    log.info(
        "schedule.ran",
        outcome=run.outcome,
        turn_id=str(run.turn_id) if run.turn_id else None,
        reason=run.reason_code or None,
        late=round(came.late, 3),
    )
