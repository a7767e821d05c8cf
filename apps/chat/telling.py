"""What a turn's host says, in order and in its own time: nobody waits for a word but for the last."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable
from uuid import UUID

import orjson

from somaagent import valkey
from somaagent.agent.events import TurnEvent
from somaagent.tenancy.patience import patiently

from . import stream
from .keeping import Keeping
from .taps import Record

ALONG_SECONDS = 0.025


class Teller:
    """Numbers a turn's events and appends them to its stream, while its host goes on.

    What comes while some are on their way is appended with the next. ``sequence`` is the number of the last.
    With ``keeping`` nothing is said of a turn that is not kept.
    """

    def __init__(self, turn_id: UUID, keeping: Keeping | None = None) -> None:
        self.sequence = 0
        self._turn_id = turn_id
        self._keeping = keeping
        self._unsaid: list[Record] = []
        self._task: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None

    def tell(self, *events: TurnEvent) -> None:
        """Raises what became of events before these: ``stream.StreamLost``, ``valkey.ERRORS``."""
        self._add(events)
        self._start()

    def tell_along(self, *events: TurnEvent) -> None:
        """The same, with what follows within ``ALONG_SECONDS``: one beginning mostly follows another."""
        self._add(events)
        if self._task is None and self._later is None:
            self._later = asyncio.get_running_loop().call_later(ALONG_SECONDS, self._start)

    async def told(self) -> None:
        """Returns when all is in the stream. Raises as ``tell`` does."""
        self._start()
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self, seconds: float) -> None:
        """Returns when all is told or the time is over: what is not told by then, is not. Never raises."""
        self._start()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task, self._unsaid = None, []

    def _add(self, events: Iterable[TurnEvent]) -> None:
        if self._task is not None and self._task.done():
            self._task.result()
            self._task = None
        for event in events:
            self.sequence += 1
            self._unsaid.append(Record(self.sequence, event.type, orjson.dumps(event.data())))

    def _start(self) -> None:
        """Have somebody say what is unsaid, unless somebody does."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._unsaid and self._task is None:
            self._task = asyncio.create_task(self._say(), name=f"telling {self._turn_id}")

    async def _say(self) -> None:
        if self._keeping is not None and not await self._keeping.kept():
            return
        while self._unsaid:
            records, self._unsaid = self._unsaid, []
            await patiently(valkey.ERRORS, functools.partial(stream.append, self._turn_id, *records))
