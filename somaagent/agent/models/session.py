"""The HTTP session that adapters share: one for each event loop, closed by whoever opened it."""

from __future__ import annotations

import aiohttp

# Shorter than the 5 s after which common model servers close an idle connection: a request that is sent
# into a closing connection fails, and a POST may not be repeated unasked.
_KEEP_IDLE_SECONDS = 4.0


def open_session() -> aiohttp.ClientSession:
    """A session without limits of its own on connections or time: adapters and breakers set those. Keeps no
    cookies.
    """
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_IDLE_SECONDS, ttl_dns_cache=30)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        headers={"User-Agent": "SomaAgent"},
    )
