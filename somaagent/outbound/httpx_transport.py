"""The guarded client under libraries that bring their own: a transport for httpx2.

Nothing of the rules is here: each request, redirects included, is one of ``client.Outbound``'s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx2

from somaagent.errors import Kind, SomaError

from .client import Outbound, Stream

# What aiohttp writes itself, of the body that it is given.
_ITS_OWN = frozenset({"content-length", "transfer-encoding", "accept-encoding", "connection"})


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Requests of an ``httpx2.AsyncClient`` through a guarded client, whose own time-outs do not apply.

    An answer of more than ``most_bytes`` ends with ``host_flood``; one that is packed is refused
    (``host_packed``), because a few bytes may unpack to any number. Raises what ``Outbound`` does.
    """

    def __init__(self, client: Outbound, *, most_bytes: int) -> None:
        self._client, self._most = client, most_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _ITS_OWN}
        body = await request.aread()
        async with AsyncExitStack() as stack:
            answer = await stack.enter_async_context(
                self._client.stream(request.method, str(request.url), headers=headers, body=body or None)
            )
            told = httpx2.Headers(list(answer.headers))
            if told.get("content-encoding", "identity").lower() != "identity":
                raise SomaError(
                    Kind.UPSTREAM, "host_packed", "Its answer is packed, which was not asked for."
                )
            return httpx2.Response(
                answer.status, headers=told, stream=_Body(answer, self._most, stack.pop_all())
            )
        raise AssertionError("an exit stack lets exceptions through")


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: Stream, most: int, closing: AsyncExitStack) -> None:
        self._answer, self._most, self._closing = answer, most, closing

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._answer.chunks(self._most):
            yield part

    async def aclose(self) -> None:
        await self._closing.aclose()
