"""The ASGI lifespan protocol: what a gateway does when it has taken its last request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from . import stopping

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Hook = Callable[[], Awaitable[None]]


class Lifespan:
    """Answers the server's ``lifespan`` messages; awaits the hooks of ``at_stop`` in order."""

    def __init__(self, *, at_stop: Sequence[Hook]) -> None:
        self._at_stop = at_stop

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        del scope
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                stopping.begin()
                for hook in self._at_stop:
                    await hook()
                await send({"type": "lifespan.shutdown.complete"})
                return
