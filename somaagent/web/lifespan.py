"""The ASGI lifespan protocol: what a gateway does before its first request and after its last."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Hook = Callable[[], Awaitable[None]]

_at_stop: list[Hook] = []


def at_stop(hook: Hook) -> Hook:
    """Have ``hook`` awaited when this process has taken its last request."""
    _at_stop.append(hook)
    return hook


class Lifespan:
    """Answers the server's ``lifespan`` messages."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        del scope
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                for hook in _at_stop:
                    await hook()
                await send({"type": "lifespan.shutdown.complete"})
                return
