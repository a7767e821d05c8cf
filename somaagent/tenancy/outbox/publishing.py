"""The publisher: what waits in the outbox is numbered, handed over and marked, a tenant's events in order.

At least once: what was handed over and could not be marked is handed over again, as the same event in the
same position. Both steps hold the lock on the tenant's lane, so that one process at a time works on an order,
whatever becomes of it: PostgreSQL ends the lock with the connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection
from django.utils import timezone

from somaagent.observability import metrics
from somaagent.tenancy.scope import tenant_scope

from .kafka import KafkaSink
from .messages import Sink, SinkAwayError, message_of
from .models import OutboxEvent, OutboxLane
from .streams import StreamSink

BATCH = 500

_NUMBER = """
WITH found AS (
    SELECT id, row_number() OVER (ORDER BY place) AS nth FROM (
        SELECT id, place FROM tenancy_outboxevent
        WHERE tenant_id = %(tenant)s AND published_at IS NULL AND position IS NULL
        ORDER BY place LIMIT %(most)s
    ) oldest
)
UPDATE tenancy_outboxevent event SET position = %(last)s + found.nth FROM found WHERE event.id = found.id
"""

logger = structlog.get_logger(__name__)


def sink() -> Sink:
    return KafkaSink() if settings.KAFKA_BOOTSTRAP else StreamSink()


def tenants_waiting() -> list[UUID]:
    """The tenants that have events to publish, of all."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM tenancy_outbox_waiting()")
        return [tenant_id for (tenant_id,) in cursor.fetchall()]


def batch_publish(*, tenant_id: UUID, to: Sink) -> int:
    """Hand over a tenant's next events; gives how many. None while another process publishes for it.

    Raises ``SinkAwayError`` where nothing could be handed over.
    """
    with tenant_scope(tenant_id):
        if (lane := _lane(tenant_id)) is None:
            return 0
        _number(lane)
    # The numbers are committed before anybody outside hears of them: they are the same the next time.
    with tenant_scope(tenant_id):
        if _lane(tenant_id) is None:
            return 0
        waiting = OutboxEvent.objects.filter(published_at=None, position__isnull=False)
        events = list(waiting.order_by("position")[:BATCH])
        if not events:
            return 0
        count = to.send([message_of(event) for event in events])
        _mark(events[:count])
    metrics.OUTBOX_PUBLISHED.labels(sink=to.name).inc(count)
    if count < len(events):
        raise SinkAwayError(f"{to.name} took {count} of {len(events)}.")
    return count


def _lane(tenant_id: UUID) -> OutboxLane | None:
    """The tenant's lane, locked; None where somebody else has it."""
    OutboxLane.objects.bulk_create([OutboxLane(tenant_id=tenant_id)], ignore_conflicts=True)
    return OutboxLane.objects.select_for_update(skip_locked=True).first()


def _number(lane: OutboxLane) -> None:
    facts: dict[str, UUID | int] = {"tenant": lane.tenant_id, "most": BATCH, "last": lane.position}
    with connection.cursor() as cursor:
        cursor.execute(_NUMBER, facts)
        found = cursor.rowcount
    if found:
        lane.position += found
        lane.save(update_fields=["position"])


def _mark(events: Sequence[OutboxEvent]) -> None:
    ids = [event.id for event in events]
    OutboxEvent.objects.filter(id__in=ids).update(published_at=timezone.now())


def events_replay(*, tenant_id: UUID, since: datetime) -> int:
    """Publish again what is kept since a moment, in its old positions. Gives how many events that is."""
    with tenant_scope(tenant_id):
        OutboxLane.objects.select_for_update().first()
        kept = OutboxEvent.objects.filter(created_at__gte=since, published_at__isnull=False)
        return kept.update(published_at=None)


def events_forget(*, tenant_id: UUID, before: datetime) -> int:
    """Delete what was published and is older. Gives how many events that were."""
    with tenant_scope(tenant_id):
        return OutboxEvent.objects.filter(created_at__lt=before, published_at__isnull=False).delete()[0]
