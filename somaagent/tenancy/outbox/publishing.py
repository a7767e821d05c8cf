"""The publisher: what waits in the outbox is put in order, handed over and marked, tenant by tenant.

At least once: what was handed over and could not be marked is handed over again, as the same event in the
same position. Both steps hold the lock on the tenant's lane, so that one process at a time works on an order,
whatever becomes of it: PostgreSQL ends the lock with the connection. An event's row changes once, when it is
marked: every change of a row is another row to clear away.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection

from somaagent.observability import metrics
from somaagent.tenancy.scope import tenant_scope

from .kafka import KafkaSink
from .messages import Event, Sink, SinkAwayError, events_of, message_of
from .models import OutboxEvent, OutboxLane
from .streams import StreamSink

BATCH = 500

_MARK = """
UPDATE tenancy_outboxevent event SET position = sent.position, published_at = now()
FROM unnest(%(ids)s::uuid[], %(positions)s::bigint[]) AS sent (id, position) WHERE event.id = sent.id
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
        _choose(lane)
    # The order is committed before anybody outside hears of it: it is the same the next time.
    with tenant_scope(tenant_id):
        if (lane := _lane(tenant_id)) is None or not (events := _next(lane)):
            return 0
        count = to.send([message_of(event) for event in events])
        _mark(lane, events[:count])
    metrics.OUTBOX_PUBLISHED.labels(sink=to.name).inc(count)
    if count < len(events):
        raise SinkAwayError(f"{to.name} took {count} of {len(events)}.")
    return count


def _lane(tenant_id: UUID) -> OutboxLane | None:
    """The tenant's lane, locked; None where somebody else has it."""
    OutboxLane.objects.bulk_create([OutboxLane(tenant_id=tenant_id)], ignore_conflicts=True)
    return OutboxLane.objects.select_for_update(skip_locked=True).first()


def _choose(lane: OutboxLane) -> None:
    """Say which events are next, unless that is said."""
    if lane.next_events:
        return
    waiting = OutboxEvent.objects.filter(published_at=None, position=None).order_by("place")
    lane.next_events = list(waiting.values_list("id", flat=True)[:BATCH])
    if lane.next_events:
        lane.save(update_fields=["next_events"])


def _next(lane: OutboxLane) -> list[Event]:
    """What is published again, in its old positions; else what is next, in those that it gets."""
    waiting = OutboxEvent.objects.filter(published_at=None)
    if again := events_of(waiting.filter(position__isnull=False).order_by("position")[:BATCH]):
        return again
    # Chosen by their places, and so in the order of them.
    return events_of(waiting.filter(id__in=lane.next_events).order_by("place"), after=lane.position)


def _mark(lane: OutboxLane, events: Sequence[Event]) -> None:
    """These are published: once and for all, unless somebody wants them again."""
    if not events:
        return
    ids, positions = [event.id for event in events], [event.position for event in events]
    with connection.cursor() as cursor:
        cursor.execute(_MARK, {"ids": ids, "positions": positions})
    sent = set(ids)
    lane.next_events = [event_id for event_id in lane.next_events if event_id not in sent]
    lane.position = max(lane.position, *positions)
    lane.save(update_fields=["position", "next_events"])


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
