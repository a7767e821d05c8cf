"""A turn's events in Valkey: written by its host, read by any number of clients from any cursor.

The stream's entry ids are ``<sequence>-0``: a client's cursor is the sequence number of the last event
that it saw, and two hosts can never both write the same place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from redis.exceptions import ResponseError

from somaagent import valkey
from somaagent.agent.events import FINAL_TYPES

from .wakeups import wakeups

MOST_EVENTS = 20_000
KEEP_SECONDS = 24 * 3600
READ_AT_ONCE = 500
Entries = list[tuple[bytes, dict[bytes, bytes]]]
HEARTBEAT_SECONDS = 15.0


class StreamLost(Exception):  # noqa: N818 - it says what happened
    """Somebody else wrote on: this host is no longer the turn's."""


@dataclass(frozen=True, slots=True)
class Record:
    """One event: its place in the turn (from 1), its name, its data as JSON text."""

    sequence: int
    type: str
    data: bytes

    @property
    def final(self) -> bool:
        return self.type in FINAL_TYPES

    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = orjson.loads(self.data)
        return values


def _key(turn_id: UUID) -> str:
    return f"soma:turn:{turn_id}:events"


def cancel_channel(turn_id: UUID) -> str:
    return f"soma:turn:{turn_id}:cancel"


async def append(turn_id: UUID, record: Record) -> None:
    """Add an event and wake who follows. Raises ``StreamLost`` where that place is taken."""
    key = _key(turn_id)
    pipeline = valkey.client().pipeline(transaction=True)
    pipeline.xadd(
        key,
        {"type": record.type, "data": record.data},
        id=f"{record.sequence}-0",
        maxlen=MOST_EVENTS,
        approximate=True,
    )
    pipeline.expire(key, KEEP_SECONDS)
    pipeline.publish(key, record.sequence)
    try:
        await pipeline.execute()
    except ResponseError as error:
        if "equal or smaller" not in str(error):
            raise
        # Ours, if the connection broke between the write and its answer and the command went out again.
        if record not in await read(turn_id, record.sequence - 1, most=1):
            raise StreamLost(str(turn_id)) from error


async def read(turn_id: UUID, after: int, *, most: int = READ_AT_ONCE) -> list[Record]:
    """Up to ``most`` events behind the cursor, oldest first."""
    entries: Entries = await valkey.client().xrange(_key(turn_id), min=f"({after}-0", count=most)
    return [_record(entry_id, fields) for entry_id, fields in entries]


async def last(turn_id: UUID) -> Record | None:
    """The newest event; None where the stream is gone or was never begun."""
    entries: Entries = await valkey.client().xrevrange(_key(turn_id), count=1)
    return _record(*entries[0]) if entries else None


def _record(entry_id: bytes, fields: dict[bytes, bytes]) -> Record:
    return Record(int(entry_id.split(b"-")[0]), fields[b"type"].decode(), fields[b"data"])


async def follow(turn_id: UUID, after: int) -> AsyncGenerator[Record | None, None]:
    """Events behind the cursor as they come, until the final one; None for each 15 s without any."""
    async with wakeups().on(_key(turn_id)) as woken:
        while True:
            woken.clear()
            records = await read(turn_id, after)
            for record in records:
                yield record
                after = record.sequence
                if record.final:
                    return
            if not records and not await _woken(woken):
                yield None


async def _woken(woken: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            await woken.wait()
    except TimeoutError:
        return False
    return True


async def request_cancel(turn_id: UUID) -> None:
    """Tell the turn's host that a cancellation stands in its row."""
    await valkey.client().publish(cancel_channel(turn_id), b"cancel")


async def delete(turn_id: UUID) -> None:
    await valkey.client().delete(_key(turn_id))


def forget(turn_id: UUID) -> None:
    """Delete a turn's events and wake its host, from code that has no event loop."""
    pipeline = valkey.blocking_client().pipeline(transaction=True)
    pipeline.delete(_key(turn_id))
    pipeline.publish(cancel_channel(turn_id), b"deleted")
    pipeline.execute()
