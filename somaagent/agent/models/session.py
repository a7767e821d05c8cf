"""The HTTP sessions that adapters share: one for each event loop, closed by whoever opened it."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp
from aiohttp.abc import AbstractResolver

from somaagent.outbound.addresses import Network
from somaagent.outbound.connector import guarded_connector

# Shorter than the 5 s after which common model servers close an idle connection: a request that is sent
# into a closing connection fails, and a POST may not be repeated unasked.
_KEEP_IDLE_SECONDS = 4.0


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
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        headers={"User-Agent": "SomaAgent"},
    )
