"""What stands before gateways: each connection goes to the first of them that takes it. With a certificate it
ends TLS and says so in ``X-Forwarded-Proto``, as a proxy of an installation does (SA01_BEHIND_TLS_PROXY).
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from dataclasses import dataclass, field

from somaagent.embedded.addresses import loopback
from tests.loops import server_beside
from tests.tls import Certificate

_PIECE = 65_536
_LONGEST_HEAD = 1_048_576
_END_OF_HEAD = b"\r\n\r\n"


@dataclass
class Front:
    """``ports``: of the gateways behind it. ``url``: its address without a slash at the end."""

    secure: bool
    ports: list[int] = field(default_factory=list)
    url: str = ""

    async def serve(self, client: StreamReader, to_client: StreamWriter) -> None:
        with contextlib.closing(to_client), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            # One request for each connection: what follows the first would not be marked.
            head = _marked(await client.readuntil(_END_OF_HEAD)) if self.secure else b""
            for port in list(self.ports):
                with contextlib.suppress(ConnectionRefusedError):
                    gateway, to_gateway = await asyncio.open_connection(loopback(), port)
                    break
            else:
                return
            with contextlib.closing(to_gateway):
                to_gateway.write(head)
                # Until one of the two is gone; then neither end is left to wait for the other.
                ways = [
                    asyncio.ensure_future(_pass_on(client, to_gateway)),
                    asyncio.ensure_future(_pass_on(gateway, to_client)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()


async def _pass_on(source: StreamReader, target: StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(_PIECE):
            target.write(piece)
            await target.drain()


def _marked(head: bytes) -> bytes:
    request, *lines = head.removesuffix(_END_OF_HEAD).split(b"\r\n")
    names = [line.split(b":", 1)[0].strip().lower() for line in lines]
    ours = {b"x-forwarded-proto": b"X-Forwarded-Proto: https"}
    if b"upgrade" not in names:
        ours[b"connection"] = b"Connection: close"
    kept = [line for name, line in zip(names, lines, strict=True) if name not in ours]
    return b"\r\n".join([request, *kept, *ours.values()]) + _END_OF_HEAD


@contextlib.contextmanager
def front(certificate: Certificate | None = None, *, port: int = 0) -> Iterator[Front]:
    """One that stands before nothing yet, with HTTPS if it has a certificate."""
    made = Front(secure=certificate is not None)
    context = certificate.server_context() if certificate else None
    with server_beside(made.serve, loopback(), port, ssl=context, limit=_LONGEST_HEAD) as bound:
        made.url = f"{'https' if made.secure else 'http'}://{loopback()}:{bound}"
        yield made
