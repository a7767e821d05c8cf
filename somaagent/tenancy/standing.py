"""Whether credentials are still good, and telling every process to look when some may not be.

The message says only “look again”: the database decides, and a look comes every few seconds without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import structlog
from django.db import transaction

from somaagent import valkey

from . import pool
from .actor import Actor

CHANNEL = "soma:credentials"
_STANDING = (
    "SELECT place, role FROM tenancy_standing("
    "%(tenants)s::uuid[], %(users)s::uuid[], %(keys)s::uuid[], %(sessions)s::text[])"
)

logger = structlog.get_logger(__name__)


class Held(NamedTuple):
    """What of a credential can end: who it is of, in which role, the API key or session that it is."""

    tenant_id: UUID
    user_id: UUID
    key_id: UUID | None
    role: str
    session_key: str | None

    @classmethod
    def by(cls, actor: Actor) -> Held:
        return cls(actor.tenant_id, actor.user_id, actor.key_id, actor.role, actor.session_key)


async def still_good(held: Sequence[Held]) -> set[Held]:
    """Those whose tenant and user are not suspended, whose role is the same, whose key or session lives."""
    columns = {
        "tenants": [one.tenant_id for one in held],
        "users": [one.user_id for one in held],
        "keys": [one.key_id for one in held],
        "sessions": [one.session_key for one in held],
    }
    async with pool.database() as database:
        (rows,) = await database.batch([(_STANDING, columns)])
    return {held[place - 1] for place, role in rows if held[place - 1].role == role}


def look_again() -> None:
    """After the commit, have every process look whether its open streams' credentials are still good."""
    transaction.on_commit(_tell)


def _tell() -> None:
    try:
        valkey.blocking_client().publish(CHANNEL, b"")
    except valkey.ERRORS as error:
        # What ended has ended; open streams learn of it by the next look.
        logger.warning("credentials.not_told", reason=str(error))
