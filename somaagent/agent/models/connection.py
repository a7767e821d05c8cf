"""One answer of a model server being read: its time-outs, its size, and what it means when it breaks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp

from somaagent.agent.failures import cut_off, garbled, timed_out
from somaagent.agent.time_limit import LimitReached, TimeLimit

_DRAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds. ``connect``: until there is a connection; ``first_token``: from the request to the first
    thing that the
    model writes; ``idle``: between two pieces of the answer."""

    connect: float = 10.0
    first_token: float = 120.0
    idle: float = 60.0


class Connection:
    """Reads the body of one response in pieces, each within the time it is given. To be closed."""

    def __init__(self, response: aiohttp.ClientResponse, *, max_bytes: int) -> None:
        self._response = response
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._limit = TimeLimit()

    def close(self) -> None:
        self._limit.close()

    async def receive(self, until: float) -> bytes:
        """What has arrived, empty at the end of the body. ``until`` is a time of the event loop's clock."""
        try:
            received = await self._limit.within(until, self._response.content.readany())
        except LimitReached:
            raise timed_out("The model server stopped writing.") from None
        except (aiohttp.ClientError, ConnectionError):
            raise cut_off() from None
        self._left -= len(received)
        if self._left < 0:
            raise garbled(f"it is longer than {self._max_bytes} bytes")
        return received

    async def receive_all(self, until: float) -> bytes:
        parts = []
        while part := await self.receive(until):
            parts.append(part)
        return b"".join(parts)

    async def drain(self) -> None:
        """Reads the last few bytes after an answer, so that the connection can be used again; gives up
        soon.
        """
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while await self._response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, ConnectionError):
            self._response.close()  # the answer is complete; only this connection is not worth keeping
