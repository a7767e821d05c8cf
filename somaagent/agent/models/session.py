"""The HTTP sessions that adapters share: one for each event loop, closed by whoever opened it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler

from somaagent.outbound.addresses import Network
from somaagent.outbound.connector import guarded_connector

# Shorter than the 5 s after which common model servers close an idle connection: a request that is sent
# into a closing connection fails, and a POST may not be repeated unasked.
_KEEP_IDLE_SECONDS = 4.0


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
    return _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_IDLE_SECONDS, ttl_dns_cache=30))


def open_guarded_session(
    also: Sequence[Network], resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """The same, to public addresses alone and to those of ``also``, looked at anew for each connection."""
    return _session(guarded_connector(also, resolver, keepalive_timeout=_KEEP_IDLE_SECONDS))


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    # Should aiohttp name it otherwise one day, nothing fails, and each token costs more.
    protocol: type[ResponseHandler] = _Protocol
    loop = asyncio.get_running_loop()
    connector._factory = functools.partial(protocol, loop=loop)  # noqa: SLF001 there is no public way
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        headers={"User-Agent": "SomaAgent"},
    )
