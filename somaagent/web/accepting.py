"""Connections shared out evenly among a gateway's workers.

All workers listen on one socket, and the kernel wakes whichever it likes: mostly the same one, which then has
all connections of a proxy or client that keeps them open, while another processor idles. So each worker says
how many connections it has, in memory that they share, and one that has more than another leaves a new
connection to that one for a moment. It takes what nobody took.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
from collections.abc import Callable
from typing import Any

import structlog
import uvloop

# How long a connection is left to a worker with fewer. That one is woken at once.
DEFER_SECONDS = 0.002
# After the kernel refused a connection: it has no more files or memory.
PAUSE_SECONDS = 1.0

logger = structlog.get_logger(__name__)


class Shares:
    """The connections of each worker. Made in the master; each worker writes to its own place alone."""

    PLACES = 256
    # What is written where no worker is, and where one takes no connections: it boots, or stops.
    NOBODY = 2**32 - 1
    CLOSED = 2**32 - 2

    def __init__(self) -> None:
        self._counts = memoryview(mmap.mmap(-1, self.PLACES * 4)).cast("I")
        for place in range(self.PLACES):
            self._counts[place] = self.NOBODY

    def take(self) -> int:
        """A place for a new worker. Raises RuntimeError when there are more workers than places."""
        for place in range(self.PLACES):
            if self._counts[place] == self.NOBODY:
                self._counts[place] = self.CLOSED
                return place
        raise RuntimeError(f"A gateway has at most {self.PLACES} workers.")

    def leave(self, place: int) -> None:
        """The worker is gone."""
        self._counts[place] = self.NOBODY

    def write(self, place: int, connections: int) -> None:
        self._counts[place] = connections

    def least(self) -> int:
        """The connections of the worker that has the fewest."""
        return min(self._counts)


class Acceptor:
    """What a worker listens with: asyncio's ``Server``, as far as gunicorn knows it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        defers: Callable[[], bool],
    ) -> None:
        self._loop, self._listener, self._protocol, self._defers = loop, listener, protocol, defers
        self._later: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[Any]] = set()
        self._closed = False
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        self._closed = True
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Returns when what was accepted has a connection that counts."""
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _listen(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener, self._called)

    def _called(self) -> None:
        if self._defers():
            self._rest(DEFER_SECONDS)
        else:
            self._accept()

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._later = self._loop.call_later(seconds, self._rested)

    def _rested(self) -> None:
        self._listen()
        self._accept()

    def _accept(self) -> None:
        """One connection, so that others come to theirs."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was quicker, or its client has left
        except OSError:
            logger.exception("gateway.accept_failed")
            self._rest(PAUSE_SECONDS)
            return
        connection.setblocking(False)
        opening = self._loop.create_task(self._open(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError as error:
            logger.info("gateway.connection_failed", reason=str(error))
            connection.close()


class SharingLoop(uvloop.Loop):
    """uvloop's, which shares connections out. ``defers`` says whether to leave a connection to others."""

    def __init__(self, defers: Callable[[], bool]) -> None:
        super().__init__()
        self._defers = defers

    async def create_server(  # type: ignore[override]  # a listening socket is all that gunicorn gives
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], *, sock: socket.socket, **_: Any
    ) -> Acceptor:
        return Acceptor(self, sock, protocol_factory, self._defers)
