"""Events as statements (``somaagent.tenancy.scripts``), ``together`` with the writes that they tell of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson

from somaagent.tenancy.scripts import Statement

# The columns that an event is made of, for statements that select them from other tables.
INSERT = "INSERT INTO tenancy_outboxevent (id, created_at, tenant_id, type, subject, data)"

_EVENT = f"""
{INSERT} VALUES (
    uuidv7(), clock_timestamp(), %(tenant)s::uuid, %(type)s::text, %(subject)s::text, %(data)s::jsonb
)
"""


def event(*, tenant_id: UUID, kind: str, subject: object, data: Mapping[str, Any]) -> Statement:
    """The statement that keeps an event: ``kind`` is dotted, ``subject`` the id of what it is about.

    No texts of users belong into ``data``, and no secrets: other systems read it.
    """
    text = orjson.dumps(dict(data), default=str).decode()
    return Statement(_EVENT, {"tenant": tenant_id, "type": kind, "subject": str(subject), "data": text})
