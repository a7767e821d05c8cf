"""An event as it is published: CloudEvents 1.0.2 (cloudevents.io) in its JSON format, structured mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import orjson
from django.db.models import F, TextField
from django.db.models.functions import Cast

from somaagent.errors import Kind, SomaError

from .faults import Fault

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from .models import OutboxEvent

SOURCE = "urn:somaagent"


@dataclass(frozen=True, slots=True)
class Message:
    """``key`` is the tenant's id: what has the same key keeps its order."""

    key: str
    value: bytes


class SinkAwayError(SomaError):
    """Events could not be handed over; they wait."""

    def __init__(self, reason: str, fault: Fault = Fault.UNREACHABLE) -> None:
        super().__init__(Kind.UNAVAILABLE, "events_sink_away", f"Events cannot be published now: {reason}")
        self.fault = fault


class Sink(Protocol):
    """Where events go. ``name`` is for metrics and the log."""

    name: str

    def send(self, messages: Sequence[Message]) -> int:
        """Hand over messages of one key, in order. Gives how many of the first have certainly arrived."""
        ...


@dataclass(frozen=True, slots=True)
class Event:
    """One of the outbox, about to be published. ``data`` is JSON text, which nobody here has to read."""

    id: UUID
    tenant_id: UUID
    created_at: datetime
    type: str
    subject: str
    data: str
    position: int


def events_of(rows: QuerySet[OutboxEvent], *, after: int | None = None) -> list[Event]:
    """Those of the rows, in their order: in the positions that they have, or in those behind ``after``."""
    told = rows.annotate(text=Cast("data", TextField()), has=F("position"))
    found = told.values_list("id", "tenant_id", "created_at", "type", "subject", "text", "has")
    if after is None:
        return [Event(*row) for row in found]
    return [Event(*row[:-1], position) for position, row in enumerate(found, after + 1)]


def message_of(event: Event) -> Message:
    tenant = str(event.tenant_id)
    told = {
        "specversion": "1.0",
        "id": str(event.id),
        "source": SOURCE,
        "type": event.type,
        "subject": event.subject,
        "time": event.created_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "partitionkey": tenant,
        "sequence": str(event.position),
        "data": orjson.Fragment(event.data),
    }
    return Message(tenant, orjson.dumps(told))
