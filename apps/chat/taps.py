"""A turn's events within one process, for any number of followers of theirs.

A tap is filled once, by the turn's own host or by one reader of its stream, and followed by all: what comes
costs each follower a look at a list and nothing between processes.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from somaagent.agent.events import FINAL_TYPES

MOST_EVENTS = 20_000
HEARTBEAT_SECONDS = 15.0


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


class Tap:
    """All events behind ``after`` as they come, until it is closed; ``error`` says why, if that is one."""

    def __init__(self, after: int = 0) -> None:
        self.closed = False
        self.error: Exception | None = None
        self._after = after
        self._records: deque[Record] = deque(maxlen=MOST_EVENTS)
        self._woken: set[asyncio.Event] = set()

    def add(self, records: Sequence[Record]) -> None:
        self._records.extend(records)
        self._wake()

    def close(self, error: Exception | None = None) -> None:
        self.closed, self.error = True, error
        self._wake()

    def _wake(self) -> None:
        for woken in self._woken:
            woken.set()

    @property
    def begins_after(self) -> int:
        """The cursor behind which it has everything."""
        full = len(self._records) == MOST_EVENTS
        return self._records[0].sequence - 1 if full else self._after

    def _behind(self, after: int) -> list[Record]:
        known = self._records[0].sequence if self._records else 0
        # Numbers may be missing where the stream was trimmed; behind the first known one they are not.
        return list(itertools.islice(self._records, max(0, after + 1 - known), None))

    async def follow(self, after: int) -> AsyncGenerator[Record | None, None]:
        """Events behind the cursor, None for each 15 s without any. Ends when the tap is closed, or no longer
        has what comes next.
        """
        woken = asyncio.Event()
        self._woken.add(woken)
        try:
            while after >= self.begins_after:
                woken.clear()
                records = self._behind(after)
                for record in records:
                    yield record
                    after = record.sequence
                if records:
                    continue
                if self.closed:
                    return
                if not await happened(woken):
                    yield None
        finally:
            self._woken.discard(woken)


async def happened(woken: asyncio.Event) -> bool:
    """Whether the event comes before the next heartbeat is due."""
    try:
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            await woken.wait()
    except TimeoutError:
        return False
    return True
