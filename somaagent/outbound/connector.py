"""What a guarded HTTP session connects by: to public addresses alone, whatever a name server says.

Two gates, each by itself enough for what it sees: every answer of the resolver, and the address of each
socket just before it is connected. The resolver's answer is what is connected to, so that a name that changes
its address between two questions gains nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from .addresses import Network, NotPublic, is_allowed

# Shorter than the 5 s after which common servers close an idle connection: a request that is sent into a
# closing connection fails, and what has effects may not be sent again unasked.
KEEP_IDLE_SECONDS = 4.0


def guarded_connector(
    also: Sequence[Network], resolver: AbstractResolver | None = None
) -> aiohttp.TCPConnector:
    """A connector of the running event loop. ``also``: networks that an operator allows besides public ones.

    What is not allowed ends as aiohttp's ``ClientConnectorError`` with ``NotPublic`` as its ``os_error``.
    """

    def opened(info: tuple[Any, ...]) -> socket.socket:
        """The last gate. An address in the URL itself comes here without a resolver."""
        family, kind, protocol, _, address = info
        if not is_allowed(ip_address(address[0]), also):
            raise NotPublic("not a public address")
        return socket.socket(family=family, type=kind, proto=protocol)

    return aiohttp.TCPConnector(
        resolver=_GuardedResolver(resolver or aiohttp.ThreadedResolver(), also),
        socket_factory=opened,
        use_dns_cache=False,
        limit=0,
        keepalive_timeout=KEEP_IDLE_SECONDS,
    )


class _GuardedResolver(AbstractResolver):
    """A name with one address that is not allowed is refused whole: which one is taken is not ours to say."""

    def __init__(self, inner: AbstractResolver, also: Sequence[Network]) -> None:
        self._inner, self._also = inner, also

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not all(is_allowed(ip_address(each["host"]), self._also) for each in found):
            raise NotPublic("a name of an address that is not public")
        return found

    async def close(self) -> None:
        await self._inner.close()
