"""Waiting for PostgreSQL, or another server, to come back from a restart while a turn is in hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

import stamina

from .scope import DATABASE_AWAY
from .scripts import Script, perform

T = TypeVar("T")

PATIENCE_SECONDS = 120.0


async def performed_patiently(tenant_id: UUID, script: Callable[[], Script[T]]) -> T:
    """``perform``, again and again while the database is away. The script must bear to run twice."""
    return await patiently(DATABASE_AWAY, lambda: perform(tenant_id, script()))


async def patiently(away: tuple[type[Exception], ...], attempt: Callable[[], Awaitable[T]]) -> T:
    """What *attempt* gives, again and again while it raises one of *away*, for ``PATIENCE_SECONDS``."""
    try:
        return await attempt()
    except away:
        pass  # from here on it is counted, waited and timed: machinery that costs as much as a statement
    retries = stamina.retry_context(
        on=away, attempts=None, timeout=PATIENCE_SECONDS, wait_initial=0.1, wait_max=2.0
    )
    async for again in retries:
        with again:
            return await attempt()
    raise AssertionError("stamina ends by returning or raising")
