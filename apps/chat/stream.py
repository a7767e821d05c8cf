"""A turn's events in Valkey: written by its host, read by any number of clients from any cursor.

The stream's entry ids are ``<sequence>-0``: a client's cursor is the sequence number of the last event
that it saw, and two hosts can never both write the same place.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from redis.exceptions import ResponseError

from somaagent import valkey
from somaagent.agent.events import FINAL_TYPES

from .wakeups import channel_of, wakeups

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


async def append(turn_id: UUID, *records: Record) -> None:
    """Add events, in order, and wake who follows. Raises ``StreamLost`` where a place is taken."""
    key = _key(turn_id)
    # Not as a transaction: a reader may see the first before the others are there.
    pipeline = valkey.client().pipeline(transaction=False)
    for record in records:
        fields: Any = {"type": record.type, "data": record.data}
        pipeline.xadd(key, fields, id=f"{record.sequence}-0", maxlen=MOST_EVENTS, approximate=True)
    if records[0].sequence == 1 or records[-1].final:
        pipeline.expire(key, KEEP_SECONDS)
    pipeline.publish(key, records[-1].sequence)
    answers = await pipeline.execute(raise_on_error=False)
    for record, answer in zip(records, answers, strict=False):
        if isinstance(answer, ResponseError):
            await _expect(turn_id, record, answer)
    if (tap := _taps.get(turn_id)) is not None:
        tap.add(records)


async def _expect(turn_id: UUID, record: Record, error: ResponseError) -> None:
    """It is there already: the connection broke between a write and its answer, and it was repeated."""
    if "equal or smaller" not in str(error):
        raise error
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


class _Tap:
    """What this process has appended to a turn's stream, for those who follow it here."""

    def __init__(self) -> None:
        self.records: deque[Record] = deque(maxlen=MOST_EVENTS)
        self.woken: set[asyncio.Event] = set()
        self.closed = False

    def add(self, records: Sequence[Record]) -> None:
        self.records.extend(records)
        self.wake()

    def close(self) -> None:
        self.closed = True
        self.wake()

    def wake(self) -> None:
        for woken in self.woken:
            woken.set()

    def has_all_behind(self, after: int) -> bool:
        return not self.records or self.records[0].sequence <= after + 1

    def behind(self, after: int) -> list[Record]:
        skipped = max(0, after + 1 - self.records[0].sequence) if self.records else 0
        return list(itertools.islice(self.records, skipped, None))


_taps: dict[UUID, _Tap] = {}


def is_tapped(turn_id: UUID) -> bool:
    """Whether the turn runs in this process, and began here."""
    return turn_id in _taps


def open_tap(turn_id: UUID) -> None:
    """From here on this process hosts a turn to which nobody has appended anything: those who follow it in
    this process are handed its events.
    """
    _taps[turn_id] = _Tap()


def close_tap(turn_id: UUID) -> None:
    """This process appends no more to the turn. Those who follow it go on with Valkey, if there is more."""
    if (tap := _taps.pop(turn_id, None)) is not None:
        tap.close()


async def follow(turn_id: UUID, after: int) -> AsyncGenerator[Record | None, None]:
    """Events behind the cursor as they come, until the final one; None for each 15 s without any."""
    async with aclosing(_follow_here(turn_id, after)) as here:
        async for record in here:
            yield record
            after = record.sequence if record else after
            if record and record.final:
                return
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


async def _follow_here(turn_id: UUID, after: int) -> AsyncGenerator[Record | None, None]:
    """What this process's own host of the turn appends, as long as it does, if it is the host."""
    tap = _taps.get(turn_id)
    if tap is None:
        return
    woken = asyncio.Event()
    tap.woken.add(woken)
    try:
        while tap.has_all_behind(after):
            woken.clear()
            records = tap.behind(after)
            for record in records:
                yield record
                after = record.sequence
            if records:
                continue
            if tap.closed:
                return
            if not await _woken(woken):
                yield None
    finally:
        tap.woken.discard(woken)


async def _woken(woken: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            await woken.wait()
    except TimeoutError:
        return False
    return True


async def call_host(turn_id: UUID, owner: str) -> None:
    """Tell the turn's host that a cancellation stands in its row."""
    await valkey.client().publish(channel_of(owner), str(turn_id))


async def delete(turn_id: UUID) -> None:
    await valkey.client().delete(_key(turn_id))


def forget(turn_id: UUID, owner: str) -> None:
    """Delete a turn's events and call its host, from code that has no event loop."""
    pipeline = valkey.blocking_client().pipeline(transaction=True)
    pipeline.delete(_key(turn_id))
    pipeline.publish(channel_of(owner), str(turn_id))
    pipeline.execute()
