"""A small ASGI application, served by the gateway's own server in the stories of that server.

``/slow`` streams a line each 50 ms without end and prints when its client leaves; ``/left`` asks the server
to say so, before and after it happens; any other path says how many bytes it was sent, and in a header which
process answers. A WebSocket echoes. At the end it takes half a second for its last work.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from somaagent.observability import server_spans
from somaagent.web.leaving import WHEN_LEFT


def tell(event: str) -> None:
    print(f'{{"story": "{event}"}}', flush=True)


async def _lifespan(receive: Any, send: Any) -> None:
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    tell("told to stop")
    await asyncio.sleep(0.5)
    tell("last work done")
    await send({"type": "lifespan.shutdown.complete"})


async def _echo(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def _begin(send: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"x-process", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _slow(receive: Any, send: Any) -> None:
    async def leave() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    await _begin(send)
    leaving = asyncio.create_task(leave())
    while not leaving.done():
        await send({"type": "http.response.body", "body": b"line\n", "more_body": True})
        await asyncio.wait([leaving], timeout=0.05)
    tell("client left")


async def _left(scope: Any, send: Any) -> None:
    when_left = scope[WHEN_LEFT]
    forget = when_left(lambda: tell("forgotten, and told"))
    when_left(lambda: tell("told as it left"))
    forget()
    await _begin(send)
    await send({"type": "http.response.body", "body": b"line\n", "more_body": True})
    await asyncio.sleep(0.5)
    when_left(lambda: tell("told afterwards"))
    await asyncio.sleep(60)


async def _count(receive: Any, send: Any) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await _begin(send)
    await send({"type": "http.response.body", "body": str(size).encode()})


async def _route(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "websocket":
        await _echo(receive, send)
    elif scope["path"] == "/slow":
        await _slow(receive, send)
    elif scope["path"] == "/left":
        await _left(scope, send)
    else:
        await _count(receive, send)


application = server_spans.Traced(_route)
