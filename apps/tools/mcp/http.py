"""The transport to a server that is reached by streamable HTTP: the SDK's, over the guarded client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from somaagent.errors import SomaError
from somaagent.outbound.client import outbound
from somaagent.outbound.httpx_transport import GuardedTransport

from . import failures
from .models import Authentication
from .oauth import Tokens, secret_of
from .servers import Access, Server

# Of one answer: a result, a page of tools, or a stream of events with all that is said besides.
MOST_BYTES = 4 * 1024 * 1024
_UNAUTHORIZED, _FORBIDDEN, _ERROR, _NOT_ALLOWED = 401, 403, 500, 405
_BEARER = "authorization"


class Witness:
    """What was seen of a connection that the SDK does not tell: why it broke, and the last bad status."""

    def __init__(self, slug: str) -> None:
        self._slug = slug
        self.failure: SomaError | None = None
        self.status: int | None = None

    def saw(self, status: int) -> None:
        if status >= _ERROR or status in (_UNAUTHORIZED, _FORBIDDEN):
            self.status = status

    def reason(self) -> SomaError | None:
        """Why nothing came, if this side knows."""
        if self.failure is not None:
            return self.failure
        if self.status in (_UNAUTHORIZED, _FORBIDDEN):
            message = f"The MCP server {self._slug} refuses our key or token (status {self.status})."
            return failures.failed("mcp_refused_key", message)
        if self.status is not None:
            return failures.failed(
                "mcp_failed", f"The MCP server {self._slug} answers with status {self.status}."
            )
        return None


@asynccontextmanager
async def connected(server: Server, access: Access, witness: Witness) -> AsyncIterator[Any]:
    """The SDK's pair of streams. It opens no stream for what the server may say unasked."""
    transport = _Watched(server.slug, witness)
    auth = await _authentication(server, access)
    async with (
        httpx2.AsyncClient(
            transport=transport, auth=auth, timeout=None, trust_env=False, headers={"User-Agent": "SomaAgent"}
        ) as client,
        streamable_http_client(access.url, http_client=client, max_sse_event_size=MOST_BYTES) as streams,
    ):
        yield streams


class _Watched(GuardedTransport):
    """Keeps cookies out, and what went wrong in mind."""

    def __init__(self, slug: str, witness: Witness) -> None:
        super().__init__(outbound(), most_bytes=MOST_BYTES)
        self._slug, self._witness = slug, witness

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET" and "last-event-id" not in request.headers:
            # A stream that nobody reads: servers that have none answer the same (Transports, 2.1.2).
            return httpx2.Response(_NOT_ALLOWED, request=request)
        request.headers.pop("cookie", None)
        try:
            response = await super().handle_async_request(request)
        except SomaError as error:
            self._witness.failure = failures.of_host(self._slug, error)
            raise self._witness.failure from error
        self._witness.saw(response.status_code)
        response.stream = _WatchedBody(response.stream, self._slug, self._witness)
        return response


class _WatchedBody(httpx2.AsyncByteStream):
    def __init__(self, inner: Any, slug: str, witness: Witness) -> None:
        self._inner, self._slug, self._witness = inner, slug, witness

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._inner:
                yield part
        except SomaError as error:
            self._witness.failure = failures.of_host(self._slug, error)
            raise self._witness.failure from error

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _authentication(server: Server, access: Access) -> httpx2.Auth | None:
    if access.authentication == Authentication.NONE:
        return None
    if access.authentication == Authentication.KEY:
        key = await secret_of(server, access)
        if key is None:
            message = f"The MCP server {server.slug} has no key. An operator sets one in the admin."
            raise failures.failed("mcp_secret_missing", message)
        return _Key(access.key_header, key)
    return _OAuth(Tokens(server))


class _Key(httpx2.Auth):
    def __init__(self, header: str, key: str) -> None:
        self._header = header
        self._value = f"Bearer {key}" if header.lower() == _BEARER else key

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        request.headers[self._header] = self._value
        yield request


class _OAuth(httpx2.Auth):
    """Sends the token that is good now; another one, once, where that is refused."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        token = await self._tokens.current()
        request.headers[_BEARER] = f"Bearer {token.text}"
        response = yield request
        if response.status_code == _UNAUTHORIZED:
            token = await self._tokens.current(refused=token)
            request.headers[_BEARER] = f"Bearer {token.text}"
            yield request
