"""A turn's events in Valkey: written by its host, read by any number of clients from any cursor.

The stream's entry ids are ``<sequence>-0``: a client's cursor is the sequence number of the last event
that it saw, and two hosts can never both write the same place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from uuid import UUID

import orjson
from redis.exceptions import ResponseError

from somaagent import valkey
from somaagent.agent.events import TurnEvent
from somaagent.loops import OneForEachLoop

from .appends import Refused, appends
from .taps import Record, Tap, happened
from .wakeups import channel_of, wakeups

READ_AT_ONCE = 500
Entries = list[tuple[bytes, dict[bytes, bytes]]]


class StreamLost(Exception):  # noqa: N818 - it says what happened
    """Somebody else wrote on: this host is no longer the turn's."""


def key_of(turn_id: UUID) -> str:
    return f"soma:turn:{turn_id}:events"


async def append(turn_id: UUID, *records: Record) -> None:
    """Add events, in order, and wake who follows. Raises ``StreamLost`` where a place is taken."""
    for refused in await appends().append(key_of(turn_id), records):
        await _expect(turn_id, refused)
    if (tap := _taps.get(turn_id)) is not None:
        tap.add(records)


async def conclude(turn_id: UUID, event: TurnEvent, *, number: int = 0) -> None:
    """Tell how a turn ended that nobody hosts, unless that was told. ``number``: of this event, at least."""
    newest = await last(turn_id)
    if newest is None or not newest.final:
        sequence = max(newest.sequence + 1 if newest else 1, number)
        await append(turn_id, Record(sequence, event.type, orjson.dumps(event.data())))


async def _expect(turn_id: UUID, refused: Refused) -> None:
    """It is there already: the connection broke between a write and its answer, and it was repeated."""
    if "equal or smaller" not in refused.reason:
        raise ResponseError(refused.reason)
    if refused.record not in await read(turn_id, refused.record.sequence - 1, most=1):
        raise StreamLost(str(turn_id))


async def read(turn_id: UUID, after: int, *, most: int = READ_AT_ONCE) -> list[Record]:
    """Up to ``most`` events behind the cursor, oldest first."""
    entries: Entries = await valkey.client().xrange(key_of(turn_id), min=f"({after}-0", count=most)
    return [_record(entry_id, fields) for entry_id, fields in entries]


async def last(turn_id: UUID) -> Record | None:
    """The newest event; None where the stream is gone or was never begun."""
    entries: Entries = await valkey.client().xrevrange(key_of(turn_id), count=1)
    return _record(*entries[0]) if entries else None


def _record(entry_id: bytes, fields: dict[bytes, bytes]) -> Record:
    return Record(int(entry_id.split(b"-")[0]), fields[b"type"].decode(), fields[b"data"])


_taps: dict[UUID, Tap] = {}


def is_tapped(turn_id: UUID) -> bool:
    """Whether the turn runs in this process, and began here."""
    return turn_id in _taps


def open_tap(turn_id: UUID) -> None:
    """From here on this process hosts a turn to which nobody has appended anything: those who follow it in
    this process are handed its events.
    """
    _taps[turn_id] = Tap()


def close_tap(turn_id: UUID) -> None:
    """This process appends no more to the turn. Those who follow it go on with Valkey, if there is more."""
    if (tap := _taps.pop(turn_id, None)) is not None:
        tap.close()


async def follow(turn_id: UUID, after: int) -> AsyncGenerator[list[Record], None]:
    """Events behind the cursor as they come, up to ``READ_AT_ONCE`` that are there together, until the final
    one; an empty list at least each 15 s without any.
    """
    own = _taps.get(turn_id)
    while True:
        async with _reading(turn_id, after) if own is None else nullcontext(own) as tap:
            while (come := await _behind(tap, turn_id, after)) is not None:
                yield come
                if come:
                    after = come[-1].sequence
                    if come[-1].final:
                        return
                del come  # it may be hours until there is another
            if tap.error is not None:
                raise tap.error
        if own is None:
            return
        own = None


async def _behind(tap: Tap, turn_id: UUID, after: int) -> list[Record] | None:
    """What a tap has behind the cursor, or Valkey where it has it no longer, as soon as there is something.

    Nothing at a heartbeat; None when no more will come.
    """
    while True:
        if after < tap.begins_after:
            if records := await read(turn_id, after):
                return records
            after = tap.begins_after  # trimmed there, too
        if come := tap.behind(after, most=READ_AT_ONCE):
            return come
        if tap.closed:
            return None
        if not await tap.news():
            return []


class _Reading:
    """One task that reads a turn's stream for those who follow it in this event loop."""

    def __init__(self, turn_id: UUID, after: int) -> None:
        self.followers = 0
        self.tap = Tap(after)
        self._task = asyncio.create_task(self._read(turn_id, after), name=f"reading {turn_id}")

    def stop(self) -> None:
        self._task.cancel()

    async def _read(self, turn_id: UUID, after: int) -> None:
        error: Exception | None = None
        try:
            async with wakeups().on(key_of(turn_id)) as woken:
                while True:
                    woken.clear()
                    records = await read(turn_id, after)
                    if records:
                        self.tap.add(records)
                        after = records[-1].sequence
                        if records[-1].final:
                            return
                    else:
                        await happened(woken)
        except Exception as raised:  # noqa: BLE001 every follower raises it
            error = raised
        finally:
            self.tap.close(error)


_readings: OneForEachLoop[dict[UUID, _Reading]] = OneForEachLoop(dict)


@asynccontextmanager
async def _reading(turn_id: UUID, after: int) -> AsyncIterator[Tap]:
    readings = _readings.get()
    reading = readings.get(turn_id)
    if reading is None or reading.tap.closed:
        reading = readings[turn_id] = _Reading(turn_id, after)
    reading.followers += 1
    try:
        yield reading.tap
    finally:
        reading.followers -= 1
        if not reading.followers:
            reading.stop()
            if readings.get(turn_id) is reading:
                del readings[turn_id]


def nudge(turn_id: UUID) -> None:
    """Have those who follow the turn in this event loop look around: they get None, as at a heartbeat."""
    reading = _readings.get().get(turn_id)
    for tap in (_taps.get(turn_id), reading.tap if reading else None):
        if tap is not None:
            tap.nudge()


async def call_host(turn_id: UUID, owner: str) -> None:
    """Tell the turn's host that a cancellation stands in its row."""
    await valkey.client().publish(channel_of(owner), str(turn_id))


async def delete(turn_id: UUID) -> None:
    await valkey.client().delete(key_of(turn_id))


def forget(turn_id: UUID, owner: str) -> None:
    """Delete a turn's events and call its host, from code that has no event loop."""
    pipeline = valkey.blocking_client().pipeline(transaction=True)
    pipeline.delete(key_of(turn_id))
    pipeline.publish(channel_of(owner), str(turn_id))
    pipeline.execute()
