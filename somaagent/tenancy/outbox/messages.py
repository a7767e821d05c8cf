"""An event as it is published: CloudEvents 1.0.2 (cloudevents.io) in its JSON format, structured mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Protocol

import orjson

from somaagent.errors import Kind, SomaError

from .faults import Fault
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


def message_of(event: OutboxEvent) -> Message:
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
        "data": event.data,
    }
    return Message(tenant, orjson.dumps(told))
