"""A request of Django's, answered by an ASGI application: whole, or as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse

from somaagent.observability import metrics

Application = Callable[[Any, Any, Any], Awaitable[None]]

_OWN_HEADERS = {b"content-length", b"connection", b"date"}


async def answered(application: Application, request: ASGIRequest, body: bytes) -> HttpResponseBase:
    """The application's answer to the request, with this body in place of its own.

    When the client goes, or the server stops, the application is cancelled.
    """
    exchange = _Exchange(application, request, body)
    try:
        start = await exchange.next()
        first = await exchange.next()
    except BaseException:
        await exchange.stop()
        raise
    response: HttpResponseBase
    if first.get("more_body", False):
        response = StreamingHttpResponse(exchange.pieces(first))
        response["X-Accel-Buffering"] = "no"
    else:
        await exchange.ended()
        response = HttpResponse(first.get("body", b""))
    del response["Content-Type"]
    response.status_code = start["status"]
    for name, value in start.get("headers", ()):
        if name.lower() not in _OWN_HEADERS:
            response[name.decode("latin-1")] = value.decode("latin-1")
    return response


class _Exchange:
    """The application at work. It is read as quickly as its client reads."""

    def __init__(self, application: Application, request: ASGIRequest, body: bytes) -> None:
        self._body: bytes | None = body
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=1)
        headers = [pair for pair in request.scope["headers"] if pair[0].lower() not in _OWN_HEADERS]
        scope = {**request.scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}
        self._task = asyncio.ensure_future(application(scope, self._receive, self._messages.put))

    async def _receive(self) -> dict[str, Any]:
        if self._body is None:
            # A client that goes is told by a cancellation.
            await asyncio.Event().wait()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def next(self) -> dict[str, Any]:
        """The next message that the application sends. Raises what the application raised."""
        reading = asyncio.ensure_future(self._messages.get())
        try:
            await asyncio.wait({reading, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
            if not self._messages.empty():
                return await reading
        finally:
            reading.cancel()
        await self._task
        raise RuntimeError("The application ended in mid-answer.")

    async def pieces(self, first: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """The body from its first message on."""
        metrics.STREAMS_OPEN.inc()
        try:
            message = first
            while message.get("more_body", False):
                if message.get("body"):
                    yield message["body"]
                message = await self.next()
            await self.ended()
            yield message.get("body", b"")
        finally:
            metrics.STREAMS_OPEN.dec()
            await self.stop()

    async def ended(self) -> None:
        """Wait until the application has ended, when it has sent its last message."""
        await self._task

    async def stop(self) -> None:
        """Stop the application, if it is still at work, and wait until it has."""
        self._task.cancel()
        await asyncio.wait({self._task})
