"""Celery's part: publish what waits, and forget what is old."""

from __future__ import annotations

import random
from datetime import timedelta

import structlog
from celery import shared_task
from django.conf import settings
from django.utils import timezone

from somaagent import valkey
from somaagent.observability import metrics
from somaagent.tenancy.selectors import tenant_ids

from . import faults, publishing
from .messages import SinkAwayError

# Spares workers: one publishes at a time, and none for a while after it failed. Order needs neither.
BUSY = "soma:outbox:busy"
BUSY_SECONDS, PAUSE_SECONDS = 15, 10

logger = structlog.get_logger(__name__)


@shared_task(name="tenancy.outbox_publish")
def outbox_publish() -> None:
    """Publish all that waits."""
    waiting = publishing.tenants_waiting()
    client = valkey.blocking_client()
    if not waiting or not client.set(BUSY, "1", nx=True, ex=BUSY_SECONDS):
        return
    sink = publishing.sink()
    # Whoever cannot be published for does not keep the same others waiting each time.
    random.shuffle(waiting)
    try:
        for tenant_id in waiting:
            # What came meanwhile goes with the next task: of small batches each costs as much as a large one.
            while publishing.batch_publish(tenant_id=tenant_id, to=sink) == publishing.BATCH:
                client.expire(BUSY, BUSY_SECONDS)
    except SinkAwayError as error:
        metrics.OUTBOX_FAILURES.labels(sink=sink.name, fault=error.fault).inc()
        logger.warning("outbox.sink_away", sink=sink.name, fault=error.fault, reason=error.message)
        faults.fault_keep(client, faults.Told(error.fault, error.message))
        client.expire(BUSY, PAUSE_SECONDS)
    else:
        faults.fault_forget(client)
        client.delete(BUSY)


@shared_task(name="tenancy.outbox_forget")
def outbox_forget() -> None:
    """Delete what was published so long ago that nobody replays it."""
    before = timezone.now() - timedelta(days=settings.OUTBOX_DAYS)
    for tenant_id in tenant_ids():
        publishing.events_forget(tenant_id=tenant_id, before=before)
