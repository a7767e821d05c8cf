"""A program that speaks WebSocket, step by step.

websockets' own client for such programs reads in one thread while it writes in another. OpenSSL forbids that
for one connection and Python does not prevent it (python/cpython#77271): over TLS one handshake in a thousand
stood still, when the server's session tickets came while the request was written. So its client for event
loops is used.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect

from tests.loops import Runs, loop_beside

# Its path below a gateway's address.
WEBSOCKET = "/api/v1/ws"


@dataclass(frozen=True)
class WebSocket:
    """An open one."""

    run: Runs
    connection: ClientConnection

    def send(self, message: str) -> None:
        self.run(self.connection.send(message))

    def recv(self, timeout: float = 20.0) -> str:
        """The next message. Raises ConnectionClosed, and TimeoutError after so many seconds."""
        message = self.run(asyncio.wait_for(self.connection.recv(), timeout))
        assert isinstance(message, str)
        return message


@contextlib.contextmanager
def connected(url: str, api_key: str | None = None, **headers: str) -> Iterator[WebSocket]:
    """One that is open, at an address whose scheme is HTTP's or WebSocket's. Raises InvalidStatus when the
    server refuses it.
    """
    credential = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    address = url.replace("http", "ws", 1)
    with loop_beside() as run:
        # A proxy of the machine has nothing to do with the loopback address.
        opening = connect(address, additional_headers=credential | headers, proxy=None)
        connection = run(_opened(opening))
        try:
            yield WebSocket(run, connection)
        finally:
            run(connection.close())


async def _opened(opening: connect) -> ClientConnection:
    return await opening
