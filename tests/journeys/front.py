"""What stands before several gateways: each connection goes to the first of them that takes it."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from somaagent.embedded.addresses import loopback

_PIECE = 65_536


@dataclass(frozen=True)
class Front:
    """Its address without a slash at the end, and the ports of the gateways behind it."""

    url: str
    ports: list[int]


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        for port in self.server.ports:
            with contextlib.suppress(ConnectionRefusedError):
                gateway = socket.create_connection((loopback(), port))
                break
        else:
            return
        with gateway:
            back = threading.Thread(target=_pass_on, args=(gateway, self.request), daemon=True)
            back.start()
            _pass_on(self.request, gateway)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Until one of the two is gone; then neither end is left to wait for the other."""
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    ports: Sequence[int] = ()


@contextlib.contextmanager
def front() -> Iterator[Front]:
    """One that stands before nothing yet."""
    with _Server((loopback(), 0), _Connection) as server:
        server.ports = ports = list[int]()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Front(f"http://{loopback()}:{server.server_address[1]}", ports)
        finally:
            server.shutdown()
