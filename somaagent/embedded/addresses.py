"""Where the embedded servers listen: on the loopback interface and nowhere else."""

from __future__ import annotations

import functools
import socket


@functools.cache
def loopback() -> str:
    """The address of the loopback interface, as the resolver tells it."""
    return str(socket.getaddrinfo(None, 0, socket.AF_INET)[0][4][0])
