"""Free ports on the loopback interface, remembered in a file so that addresses last from start to start."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path

from somaagent.embedded.addresses import loopback
from somaagent.embedded.errors import EmbeddedError
from somaagent.embedded.files import write_private

# Below the ports that Linux gives to outgoing connections: one could take a server's while it restarts.
_RANGE = range(20_000, 32_000)
_ATTEMPTS = 200


class Ports:
    """The ports of one data directory. A port is settled when first asked for, until the end.

    Whoever starts the servers calls ``recheck`` before: a remembered port that another program has taken
    since is then replaced. To everybody else the remembered ports are where the servers are.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._settled: dict[str, int] = {}
        self._checked = False

    def recheck(self) -> None:
        """From now on, remembered ports must be free."""
        self._checked = True

    def of(self, name: str) -> int:
        """The port of *name*: the remembered one, else a free one, which is remembered."""
        if name not in self._settled:
            remembered = self._remembered()
            port = remembered.get(name)
            if port is None or (self._checked and not is_free(port)):
                port = self._pick(set(remembered.values()))
                write_private(
                    self._path, json.dumps(remembered | {name: port}, indent=1, sort_keys=True) + "\n"
                )
            self._settled[name] = port
        return self._settled[name]

    def _remembered(self) -> dict[str, int]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(name): int(port) for name, port in content.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError) as error:
            raise EmbeddedError(
                f"{self._path} is not readable ({error}): remove it, then start again."
            ) from error

    @staticmethod
    def _pick(taken: set[int]) -> int:
        chance = random.SystemRandom()
        for _ in range(_ATTEMPTS):
            port = chance.choice(_RANGE)
            if port not in taken and is_free(port):
                return port
        raise EmbeddedError(
            f"No free port from {_RANGE.start} to {_RANGE.stop - 1} was found on {loopback()}."
        )


def is_free(port: int) -> bool:
    """Whether a server could listen there now; the remains of closed connections do not matter."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((loopback(), port))
            probe.listen(1)
        except OSError:
            return False
    return True
