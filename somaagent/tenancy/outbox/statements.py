"""Events as statements (``somaagent.tenancy.scripts``), ``together`` with the writes that they tell of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.scripts import Statement, combined

_INSERT = "INSERT INTO tenancy_outboxevent (id, created_at, tenant_id, type, subject, data)"
_EVENT = """(
    SELECT %(id)s::uuid, clock_timestamp(), %(tenant)s::uuid, %(type)s::text, %(subject)s::text,
        %(data)s::jsonb {unless}
)"""


class Event(Statement):
    """One event, to be ``told``."""


def event(
    *,
    tenant_id: UUID,
    kind: str,
    subject: object,
    data: Mapping[str, Any],
    event_id: UUID | None = None,
    unless: Statement | None = None,
) -> Event:
    """``kind`` is dotted, ``subject`` the id of what it is about. No texts of users belong into ``data``, and
    no secrets: other systems read it.

    An event with an id of its own is told once. ``unless``: nor is it where that finds a row; its parameters
    are not named as these.
    """
    condition = f"WHERE NOT EXISTS ({unless.sql})" if unless else ""
    facts = {
        "id": event_id or uuid7(),
        "tenant": tenant_id,
        "type": kind,
        "subject": str(subject),
        "data": orjson.dumps(data, default=str).decode(),
    }
    return Event(_EVENT.format(unless=condition), {**facts, **(unless.parameters if unless else {})})


def told(*events: Event) -> Statement:
    """Keeps events, in that order."""
    return combined(_inserted, events)


def _inserted(events: Sequence[str]) -> str:
    return f"{_INSERT} {' UNION ALL '.join(events)} ON CONFLICT (id) DO NOTHING"
