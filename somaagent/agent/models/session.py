"""The HTTP sessions that adapters share, one for each event loop, closed by whoever opened it; and how a
request is sent by them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from somaagent.outbound.addresses import Network
from somaagent.outbound.connector import KEEP_IDLE_SECONDS, guarded_connector

# A server that closed an idle connection answers what is sent into it within a round trip.
_ROUND_TRIP_SECONDS = 1.0


class _Protocol(ResponseHandler):
    """aiohttp's, without what its version 3.14 does after each piece of an answer: to look whether more was
    held back, whether or not reading had been paused. Models' servers write a piece for each token.
    """

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused:
            super().resume_reading(resume_parser)


def open_session() -> aiohttp.ClientSession:
    """A session without limits of its own on connections or time: adapters and breakers set those. Keeps no
    cookies.
    """
    return _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_IDLE_SECONDS, ttl_dns_cache=30))


def open_guarded_session(
    also: Sequence[Network], resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """The same, to public addresses alone and to those of ``also``, looked at anew for each connection."""
    return _session(guarded_connector(also, resolver))


@dataclass(slots=True)
class _Way:
    """By which connection a request went."""

    kept: bool = False


async def post(
    session: aiohttp.ClientSession, url: URL, body: bytes, headers: Mapping[str, str], *, connect: float
) -> aiohttp.ClientResponse:
    """Sends a request to a model and follows no redirect. ``connect``: seconds until there is a connection.

    Where a connection that was kept turns out to be closed, the request goes again, by another: llama.cpp's
    server says of each that it keeps it, and closes it after a stream. RFC 9110, section 9.2.2, allows that
    for what may be asked twice, and asking a model has no effect. Raises what ``ClientSession.post`` raises.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect)
    clock = asyncio.get_running_loop().time
    while True:
        way, begun = _Way(), clock()
        try:
            return await session.post(
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=timeout,
                trace_request_ctx=way,
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # Later, the server had taken it and begun to work.
            if not way.kept or clock() - begun > _ROUND_TRIP_SECONDS:
                raise


async def _goes_by_kept(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    if isinstance(context.trace_request_ctx, _Way):
        context.trace_request_ctx.kept = True


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    # Should aiohttp name it otherwise one day, nothing fails, and each token costs more.
    protocol: type[ResponseHandler] = _Protocol
    loop = asyncio.get_running_loop()
    connector._factory = functools.partial(protocol, loop=loop)  # noqa: SLF001 there is no public way
    ways = aiohttp.TraceConfig()
    ways.on_connection_reuseconn.append(_goes_by_kept)
    return aiohttp.ClientSession(
        connector=connector,
        trace_configs=[ways],
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        headers={"User-Agent": "SomaAgent"},
    )
