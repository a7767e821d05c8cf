"""An installation whose parts can be watched and killed one by one: gateways, worker, scheduler, servers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import requests

from somaagent.embedded import Stack
from somaagent.embedded.addresses import loopback
from somaagent.embedded.launch import Command, spawn
from tests import model_server, servers, stack
from tests.journeys.gateway import free_port
from tests.stack import PROJECT_ROOT, RunningStack, foreign_environment

READY_SECONDS = 180.0
# One process each, because two cores carry all of it; a dead host's turns are soon taken over.
FOR_FAULTS = {
    "SA01_GATEWAY_WORKERS": "1",
    "SA01_WORKER_CONCURRENCY": "1",
    "SA01_TURN_LEASE_SECONDS": "5",
    "SA01_SWEEP_SECONDS": "2",
    "SA01_DRAIN_SECONDS": "2",
    "SA01_OUTBOUND_ALLOWED_NETWORKS": f"{loopback()}/32",
}
# gunicorn and Celery as the orchestrator starts them.
COMMANDS = {
    "gateway": ["gunicorn", "-c", "somaagent/web/gunicorn.py", "somaagent.asgi:application"],
    "worker": [
        "celery",
        "--quiet",
        "-A",
        "somaagent.celery",
        "worker",
        "--without-mingle",
        "--without-gossip",
    ],
    "scheduler": ["celery", "--quiet", "-A", "somaagent.celery", "beat"],
}


# The scripted model is asked as most are; the one that comes along knows no tools.
_NATIVE = """
from apps.sessions.models import ModelProfile
from somaagent.tenancy.models import Tenant
from somaagent.tenancy.scope import tenant_scope
tenant = Tenant.objects.get()
with tenant_scope(tenant.id):
    ModelProfile.objects.update(tool_calls="native")
"""
# Behind the former. Until its list is read: on a machine that is busy, a host would go on without.
_LEDGER = """
import asyncio
from apps.sessions.models import Agent
from apps.tools import toolbox
from apps.tools.mcp.models import McpServer
with tenant_scope(tenant.id):
    McpServer.objects.create(tenant=tenant, slug="ledger", name="Ledger", url="{url}")
    Agent.objects.update(tools=["ledger__*"])
async def read():
    async with asyncio.timeout({patience}):
        while not await toolbox.tools_named(tenant.id, ["ledger__*"]):
            await asyncio.sleep(0.2)
asyncio.run(read())
"""


@dataclass
class Town:
    """Everything that runs, by name: ``gateway-1``, ``gateway-2`` …, ``worker``, ``scheduler``, servers.

    ``model_url`` is the scripted model's address, without the ``/v1``. ``settings`` are what the processes
    are told besides the stack's own.
    """

    running: RunningStack
    servers: dict[str, subprocess.Popen[bytes]]
    model_url: str
    api_key: str
    settings: dict[str, str]
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def url(self, gateway: str) -> str:
        return f"http://{self.running.environment['SA01_GATEWAY_HOST']}:{self.ports[gateway]}"

    def start(self, name: str) -> None:
        port = self.ports.setdefault(name, free_port()) if name.startswith("gateway") else 1
        ours = self.running.environment | {"SA01_GATEWAY_PORT": str(port)} | self.settings
        log = self.running.data_dir / f"{name}.log"
        with log.open("ab") as output:
            command = Command(
                argv=[sys.executable, "-m", *COMMANDS[name.split("-", maxsplit=1)[0]]],
                env=foreign_environment() | ours,
                cwd=PROJECT_ROOT,
                # At once and with their children, should we be killed ourselves.
                death_signal=signal.SIGQUIT if name != "scheduler" else signal.SIGTERM,
            )
            self.processes[name] = spawn(command, output=output)

    def wait_for_gateway(self, name: str) -> None:
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(requests.ConnectionError, requests.Timeout):
                requests.get(f"{self.url(name)}/healthz", timeout=5).raise_for_status()
                return
            time.sleep(0.1)
        log = (self.running.data_dir / f"{name}.log").read_text(errors="replace")
        raise RuntimeError(f"{name} does not start.\n{log[-3000:]}")

    def kill(self, name: str) -> None:
        """SIGKILL to the process and its children, at once."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def end(self, name: str) -> None:
        """SIGTERM, as a roll-out does, and wait until it is gone."""
        process = self.processes.pop(name)
        process.terminate()
        process.wait(30)

    def restart_server(self, name: str) -> None:
        """Stop one of the servers as its operator would, and start it again on its data."""
        server = next(server for server in self.running.stack.servers if server.name == name)
        process = self.servers[name]
        process.send_signal(server.command().stop_signal)
        process.wait(30)
        server.prepare()
        servers.start(server, self.running.data_dir, self.servers)

    def stop(self) -> None:
        for name in list(self.processes):
            self.kill(name)


@contextlib.contextmanager
def town(
    *,
    model: Callable[[], contextlib.AbstractContextManager[str]] = model_server.process,
    processes: Sequence[str] = ("gateway-1", "gateway-2", "worker", "scheduler"),
    settings: Mapping[str, str] = FOR_FAULTS,
    ledger_url: str = "",
) -> Iterator[Town]:
    """Start all of it on fresh data, in front of the scripted model; take it down at the end.

    ``ledger_url``: an MCP server whose tools the agent has.
    """
    stack.forget_settings()
    with tempfile.TemporaryDirectory(prefix="soma-town-") as folder, model() as model_url:
        built = Stack(Path(folder) / "data", model=False)
        with built.lock(), contextlib.ExitStack() as closing:
            stack.lay_in_migrated(built)
            server_processes = closing.enter_context(servers.started(built))
            running = RunningStack.of(built)
            seeded = _seed(running, model_url)
            ledger = _LEDGER.format(url=ledger_url, patience=READY_SECONDS) if ledger_url else ""
            stack.manage(running, "shell", "--verbosity=0", "-c", _NATIVE + ledger, settings=settings)
            made = Town(running, server_processes, model_url, seeded["api_key"], dict(settings))
            try:
                for name in processes:
                    made.start(name)
                for name in processes:
                    if name.startswith("gateway"):
                        made.wait_for_gateway(name)
                yield made
            finally:
                made.stop()


def _seed(running: RunningStack, model_url: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "manage.py", "seed", "--json", "--local-model-url", f"{model_url}/v1"],
        cwd=PROJECT_ROOT,
        env=foreign_environment() | running.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    seeded: dict[str, str] = json.loads(done.stdout)
    return seeded
