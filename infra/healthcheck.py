"""The health check of a container: exit status 0 when its service is well, else 1 and the reason.

Usage: python infra/healthcheck.py {gateway,record}

``gateway`` asks the gateway's ``/healthz`` over HTTP. ``record`` reads what this container's orchestrator
wrote down, for services that do not speak HTTP. Both read the same settings as the service itself.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

# A script finds the packages of the tree beside its own folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from settings import environment
from somaagent.observability import health

SECONDS = 4.0


class Unwell(Exception):  # noqa: N818  it is an answer
    """The service is not well; the message says why."""


def gateway(environ: Mapping[str, str]) -> None:
    """Raises ``Unwell`` unless the gateway in this container answers 200, addressed as its proxy would."""
    settings = environment.read(environ)
    public = urlsplit(settings.text("SA01_PUBLIC_URL"))
    # No host means the loopback, in this container's own network.
    (*_, address), *_ = socket.getaddrinfo(None, int(settings.text("SA01_GATEWAY_PORT") or 0), socket.AF_INET)
    connection = http.client.HTTPConnection(str(address[0]), int(address[1]), timeout=SECONDS)
    try:
        connection.request(
            "GET", "/healthz", headers={"Host": public.netloc, "X-Forwarded-Proto": public.scheme}
        )
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Unwell(f"the gateway does not answer: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if status != http.client.OK:
        raise Unwell(f"the gateway's /healthz answers {status}")


def record(environ: Mapping[str, str]) -> None:
    """Raises ``Unwell`` when a critical service of this container is down, or its orchestrator is."""
    data = environment.read(environ).text("SA01_DATA_DIR")
    if not data:
        raise Unwell("SA01_DATA_DIR is not set")
    found = health.judged(health.load(Path(data) / "run"), mode="", version="")
    if found.status is health.Status.UNHEALTHY:
        raise Unwell("; ".join(found.reasons()))


CHECKS: dict[str, Callable[[Mapping[str, str]], None]] = {"gateway": gateway, "record": record}


def main(arguments: list[str]) -> int:
    """Runs the named check; 2 when none is named."""
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        sys.stderr.write(f"healthcheck: name one of {', '.join(CHECKS)}\n")
        return 2
    try:
        CHECKS[arguments[0]](os.environ)
    except Unwell as reason:
        sys.stderr.write(f"{reason}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
