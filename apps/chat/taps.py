"""A turn's events within one process, for any number of followers of theirs.

A tap is filled once, by the turn's own host or by one reader of its stream, and followed by all: what comes
costs each follower a look at a list and nothing between processes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
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
        self._waiting: list[asyncio.Future[bool]] = []
        self._heartbeat: asyncio.TimerHandle | None = None

    def add(self, records: Sequence[Record]) -> None:
        self._records.extend(records)
        self._wake(come=True)

    def close(self, error: Exception | None = None) -> None:
        self.closed, self.error = True, error
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._wake(come=True)

    def nudge(self) -> None:
        """Those who wait look around: as at a heartbeat, now."""
        self._wake(come=False)

    @property
    def begins_after(self) -> int:
        """The cursor behind which it has everything."""
        full = len(self._records) == MOST_EVENTS
        return self._records[0].sequence - 1 if full else self._after

    def behind(self, after: int, *, most: int) -> list[Record]:
        """The first it has behind the cursor, oldest first."""
        known = self._records[0].sequence if self._records else 0
        # Numbers may be missing where the stream was trimmed; behind the first known one they are not.
        start = max(0, after + 1 - known)
        return [self._records[place] for place in range(start, min(start + most, len(self._records)))]

    async def news(self) -> bool:
        """Returns when events come or it is closed; False at a heartbeat, of which those who wait together
        have one together.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(future)
        if self._heartbeat is None:
            self._heartbeat = loop.call_later(HEARTBEAT_SECONDS, self._beat)
        return await future

    def _beat(self) -> None:
        self._heartbeat = None
        self._wake(come=False)

    def _wake(self, *, come: bool) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(come)


async def happened(woken: asyncio.Event, seconds: float = HEARTBEAT_SECONDS) -> bool:
    """Whether the event comes within that time: before the next heartbeat is due."""
    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        return False
    return True
