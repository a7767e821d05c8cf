"""One guarded HTTP client: it connects to public addresses alone, whatever a URL or a name server says.

Three gates, each by itself enough for what it sees: the URL's own words (``allowed_url``), and the two of
``connector``: every answer of the resolver, and the address of each socket just before it is connected.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver
from django.conf import settings
from yarl import URL

from somaagent.errors import Kind, SomaError
from somaagent.loops import OneForEachLoop

from .addresses import Network, NotPublic, allowed_url, not_public
from .connector import guarded_connector

_CHUNK = 16_384
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FOLLOWING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Answer:
    """``body`` holds at most as many bytes as were asked for; ``truncated`` says that there were more.

    ``seconds``: from the beginning of the request to the last byte that was read.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool
    url: str
    seconds: float


class Stream:
    """An answer whose body is still to come."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = response.raw_headers

    async def chunks(self, most_bytes: int) -> AsyncIterator[bytes]:
        """The body. Raises ``host_flood`` after ``most_bytes``, ``host_unreachable`` where it breaks off."""
        left = most_bytes
        with _told():
            async for part in self._response.content.iter_any():
                left -= len(part)
                if left < 0:
                    self._response.close()
                    raise _failed("host_flood", f"Its answer is longer than {most_bytes} bytes.")
                yield part


class Outbound:
    """The client of one event loop. ``also``: networks that an operator allows besides public addresses."""

    def __init__(self, also: Sequence[Network], resolver: AbstractResolver | None = None) -> None:
        self._also = tuple(also)
        self._session = aiohttp.ClientSession(
            connector=guarded_connector(self._also, resolver),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"User-Agent": "SomaAgent", "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        await self._session.close()

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        seconds: float,
        most_bytes: int,
        redirects: int = 0,
    ) -> Answer:
        """One request and its answer, whatever its status, within ``seconds`` in all.

        Redirects are followed ``redirects`` times, of GET and HEAD alone and each through the same gates; the
        headers given go to the first origin only. Raises ``url_invalid``, ``url_not_public`` (INVALID),
        ``host_timeout``, ``host_unreachable``, ``host_certificate`` or ``host_redirects`` (UPSTREAM).
        """
        target, begun = allowed_url(url, self._also), time.monotonic()
        given = dict(headers or {})
        try:
            async with asyncio.timeout(seconds):
                for _ in range(redirects + 1):
                    answer = await self._once(method, target, given, body, most_bytes, begun)
                    following = _following(answer, method) if redirects else None
                    if following is None:
                        return answer
                    onward = allowed_url(following, self._also)
                    given = given if onward.origin() == target.origin() else {}
                    target = onward
        except TimeoutError as error:
            raise _failed("host_timeout", f"No answer came within {seconds:g} s.") from error
        raise _failed("host_redirects", f"It was redirected more than {redirects} times.")

    async def _once(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        most_bytes: int,
        begun: float,
    ) -> Answer:
        with _told():
            async with self._session.request(
                method, url, headers=headers, data=body, allow_redirects=False
            ) as response:
                content, truncated = await _read(response, most_bytes)
                seconds = time.monotonic() - begun
                return Answer(
                    response.status, response.headers, content, truncated, str(response.url), seconds
                )

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncIterator[Stream]:
        """An answer as it comes, for clients that read at their own pace and set their own time-outs.

        Redirects are not followed. Raises as ``fetch`` does, without its time-out.
        """
        target = allowed_url(url, self._also)
        with _told():
            async with self._session.request(
                method, target, headers=headers, data=body, allow_redirects=False
            ) as response:
                yield Stream(response)


@contextmanager
def _told() -> Iterator[None]:
    """What aiohttp raises, in our own words."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise _failed("host_certificate", "Its certificate cannot be verified.") from error
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, NotPublic):
            raise not_public() from error
        raise _failed("host_unreachable", f"It cannot be connected to ({_why(error)}).") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise _failed("host_unreachable", f"It gave no whole answer ({type(error).__name__}).") from error


async def _read(response: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    parts, left = [], most
    async for part in response.content.iter_chunked(_CHUNK):
        parts.append(part[:left])
        left -= len(part)
        if left < 0:
            # What is not read must not come after all, on a connection that is used again.
            response.close()
            break
    return b"".join(parts), left < 0


def _following(answer: Answer, method: str) -> str | None:
    location = answer.headers.get("Location")
    if answer.status not in _REDIRECTS or method not in _FOLLOWING or not location:
        return None
    try:
        return str(URL(answer.url).join(URL(location)))
    except ValueError:
        return location  # no URL: ``allowed_url`` says so


def _why(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "no TLS"
    number = error.os_error.errno
    # Not its own words: asyncio writes the address into them.
    return os.strerror(number) if number else type(error.os_error).__name__


def _failed(code: str, message: str) -> SomaError:
    return SomaError(Kind.UPSTREAM, code, message)


_clients = OneForEachLoop(lambda: Outbound(settings.OUTBOUND_ALLOWED_NETWORKS), Outbound.close)


def outbound() -> Outbound:
    """The running event loop's client, with what the operator allows."""
    return _clients.get()
