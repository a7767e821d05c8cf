"""Boots a gateway and a worker as a container does, beside MCP servers of which some are broken.

``python -m tests.mcp_boot`` measures what they cost a boot: none, ten well ones, and ten of which one refuses
connections, one hangs and one answers garbage. The last line has the seconds (median, least to most) and the
two ratios to the boot without any.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from somaagent.embedded.addresses import loopback
from somaagent.observability import health
from somaagent.observability.health import HealthRecord, State
from tests import mcp_town, stack
from tests.chaos.town import FOR_FAULTS
from tests.journeys.gateway import free_port
from tests.mcp_town import Raw, Town
from tests.stack import PROJECT_ROOT, RunningStack, foreign_environment

WELL = tuple(f"well-{number}" for number in range(1, 11))
# Why each is broken, as health says it.
BROKEN = {"refuses": "mcp_unreachable", "hangs": "mcp_timeout", "babbles": "mcp_garbled"}
SOME_BROKEN = (*WELL[: -len(BROKEN)], *BROKEN)
CONNECT_SECONDS = 1.0
BOOT_SECONDS = 120.0
STOP_SECONDS = 30.0
_SERVICES = ("gateway", "worker")
_ROWS = """
from apps.tools.mcp.models import McpServer
from somaagent.tenancy.models import Tenant
from somaagent.tenancy.scope import tenant_scope
tenant = Tenant.objects.get()
with tenant_scope(tenant.id):
    McpServer.objects.all().delete()
    for slug, url in {urls!r}.items():
        McpServer.objects.create(tenant=tenant, slug=slug, name=slug, url=url)
"""


@dataclass(frozen=True)
class Booted:
    """An orchestrator whose gateway and worker are up, after so many seconds."""

    url: str
    seconds: float


@contextlib.contextmanager
def servers() -> Iterator[tuple[Town, Mapping[str, str]]]:
    """All that are named above, well or broken, and their addresses."""
    town = Town()
    for name in WELL:
        town.build(name, mcp_town.well(name))
    town.build("hangs", Raw(mcp_town.hangs))
    town.build("babbles", Raw(mcp_town.babbles))
    with mcp_town.running(town), socket.socket() as nobody:
        nobody.bind((loopback(), 0))  # and does not listen
        urls = {name: town.url(name) for name in (*WELL, "hangs", "babbles")}
        yield town, urls | {"refuses": f"http://{loopback()}:{nobody.getsockname()[1]}/mcp"}


@contextlib.contextmanager
def booted(running: RunningStack, folder: Path) -> Iterator[Booted]:
    """A gateway and a worker under an orchestrator of their own, on servers that run; stopped at the end."""
    port = free_port()
    url = f"http://{loopback()}:{port}"
    ours = FOR_FAULTS | {
        "SA01_GATEWAY_PORT": str(port),
        "SA01_PUBLIC_URL": url.replace("http:", "https:") if stack.is_saas() else url,
        "SA01_DATA_DIR": str(folder / "data"),
    }
    command = [sys.executable, "-m", "somaagent.orchestrator", "run", "--only", ",".join(_SERVICES)]
    log = folder / "orchestrator.log"
    begun = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=foreign_environment() | running.environment | ours,
            stdout=output,
            stderr=output,
        )
    run_dir = folder / "data" / "run"
    try:
        while not _is_up(health.load(run_dir)):
            if process.poll() is not None or time.monotonic() - begun > BOOT_SECONDS:
                raise RuntimeError(f"It does not boot.\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.02)
        yield Booted(url, time.monotonic() - begun)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _is_up(record: HealthRecord | None) -> bool:
    return record is not None and all(
        name in record.services and record.services[name].state is State.UP for name in _SERVICES
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mcp_boot", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(arguments).rounds
    kinds: dict[str, tuple[str, ...]] = {"none": (), "well": WELL, "broken": SOME_BROKEN}
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    with servers() as (town, urls), stack.running_stack() as running:
        _seed(running)
        for _ in range(rounds):
            for kind, names in kinds.items():
                rows = {name: urls[name] for name in names}
                stack.manage(running, "shell", "--verbosity=0", "-c", _ROWS.format(urls=rows))
                with tempfile.TemporaryDirectory(prefix="soma-boot-") as folder:
                    with booted(running, Path(folder)) as one:
                        took[kind].append(one.seconds)
                    print(f"mcp_boot: {kind} {one.seconds:.2f} s", flush=True)
        made = town.connections
    middle = {kind: statistics.median(seconds) for kind, seconds in took.items()}
    told = [f"{kind}={middle[kind]:.2f} ({min(took[kind]):.2f}-{max(took[kind]):.2f})" for kind in kinds]
    ratios = [f"{kind}/none={middle[kind] / middle['none']:.3f}" for kind in ("well", "broken")]
    print(f"mcp_boot: rounds={rounds} {' '.join([*told, *ratios])} connections={made}", flush=True)
    return 1 if made else 0


def _seed(running: RunningStack) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "seed", "--json"],
        cwd=PROJECT_ROOT,
        env=foreign_environment() | running.environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
