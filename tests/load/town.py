"""What is measured: the model server, the gateway with two workers, worker, scheduler, real servers.

As an installation runs: durable database, JSON logs, metrics of all processes, spans (no collector).
"""

from __future__ import annotations

import contextlib
import functools
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from somaagent.observability.metrics import DIRECTORY
from tests import model_server
from tests.chaos.town import READY_SECONDS, Town, town

GATEWAY = "gateway-1"
BACKGROUND = ("worker", "scheduler")
STORES = ("postgres", "valkey")
WORKERS = 2
_MODEL = "tests.load.model"
# For logs, listeners, connections between servers, and the interpreter itself.
_OTHER_FILES = 1_000


@dataclass(frozen=True)
class Site:
    """Where to ask and with what key, and the process at the head of each part."""

    url: str
    model_url: str
    api_key: str
    heads: dict[str, int]


@contextlib.contextmanager
def site(*, background: bool = True) -> Iterator[Site]:
    """Start all of it, worker and scheduler where ``background``; take it down whatever happens."""
    with tempfile.TemporaryDirectory(prefix="soma-metrics-") as metrics:
        settings = {"SA01_GATEWAY_WORKERS": str(WORKERS), DIRECTORY: metrics}
        lean = functools.partial(model_server.process, module=_MODEL)
        processes = (GATEWAY, *(BACKGROUND if background else ()))
        with town(model=lean, processes=processes, settings=settings) as place:
            _wait_for_workers(place)
            heads = {
                "model": _model_process(),
                "gateway": place.processes[GATEWAY].pid,
                **{name: place.processes[name].pid for name in processes[1:]},
                **{name: place.servers[name].pid for name in STORES},
            }
            yield Site(place.url(GATEWAY), place.model_url, place.api_key, heads)


def _wait_for_workers(place: Town) -> None:
    """The first one answers before the others listen, and would keep all clients."""
    log = place.running.data_dir / f"{GATEWAY}.log"
    until = time.monotonic() + READY_SECONDS
    while log.read_text(errors="replace").count("ASGI server listening") < WORKERS:
        if time.monotonic() > until:
            raise RuntimeError("The gateway's workers do not all start.")
        time.sleep(0.1)


def _model_process() -> int:
    return next(child.pid for child in psutil.Process().children() if _MODEL in child.cmdline())


def streams_possible(wanted: int) -> int:
    """``wanted``, or what the limit on open files leaves. Raises the soft limit, for our children too."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard - _OTHER_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return wanted
