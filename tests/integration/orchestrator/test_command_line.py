"""The commands over real infrastructure: what is checked, what is supervised, what is asked."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from uuid import uuid4

import pytest
import requests

from somaagent.embedded.addresses import loopback
from somaagent.observability import health
from somaagent.observability.health import HealthRecord, ServiceHealth, State
from somaagent.resilience.breaker import CircuitBreaker
from somaagent.resilience.operators import breaker_close
from tests.stack import foreign_environment, mode

from .boots import ROOT, wait_for

SLOW = 120.0


class Orchestrator:
    """The real command line, over the tests' stack, in a directory of its own."""

    def __init__(self, stack, home):
        with closing(socket.create_server((loopback(), 0))) as listener:
            self.port = listener.getsockname()[1]
        self.data = home / "data"
        self.output = home / "output"
        self.process = None
        self.environment = foreign_environment() | stack.environment
        self.environment |= {
            "SA01_DATA_DIR": str(self.data),
            "SA01_GATEWAY_PORT": str(self.port),
            "SA01_DRAIN_SECONDS": "1",
            "SA01_GATEWAY_WORKERS": "1",
            "SA01_WORKER_CONCURRENCY": "1",
            "TERM": "dumb",
        }
        self.environment.pop("PROMETHEUS_MULTIPROC_DIR", None)

    def command(self, *arguments):
        return [sys.executable, "-m", "somaagent.orchestrator", *arguments]

    def ask(self, *arguments, **changes):
        return subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env=self.environment | changes,
            capture_output=True,
            text=True,
            timeout=SLOW,
            check=False,
        )

    def start(self, *arguments):
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self.command(*arguments), cwd=ROOT, env=self.environment, stdout=output, stderr=output
            )
        return self

    def state(self, name):
        assert self.process.poll() is None, self.said()
        record = health.load(self.data / "run")
        return record.services[name].state if record and name in record.services else None

    def wait_until(self, name, state):
        wait_for(f"{name} is {state}", lambda: self.state(name) is state, SLOW)

    def said(self):
        return self.output.read_text(encoding="utf-8", errors="replace")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SLOW)


@pytest.fixture
def orchestrator(stack, tmp_path):
    it = Orchestrator(stack, tmp_path)
    yield it
    if it.process is not None and it.process.poll() is None:
        it.process.kill()
        it.process.wait()


def test_a_dry_run_shows_the_order_checks_everything_and_starts_nothing(orchestrator):
    result = orchestrator.ask("--dry-run")

    assert result.returncode == 0, result.stdout + result.stderr
    order = re.findall(r"^ +\d+\. (\w+)", result.stdout.partition("Settings")[0], re.MULTILINE)
    assert set(order) == {
        "openbao",
        "postgres",
        "valkey",
        "migrations",
        "gateway",
        "worker",
        "scheduler",
        "breakers",
        "policy",
        "mcp_servers",
        "events",
    }
    assert order.index("postgres") < order.index("migrations") < order.index("gateway")
    assert "openbao (external, critical)" in result.stdout
    assert "Nothing was started." in result.stdout
    assert not orchestrator.data.exists()

    wrong = orchestrator.ask("--dry-run", SA01_GATEWAY_PROT="8000")
    assert wrong.returncode == 1
    assert "SA01_GATEWAY_PROT" in wrong.stdout
    assert "SA01_GATEWAY_PORT" in wrong.stdout


def test_a_dry_run_of_embedded_mode_needs_nothing_set_up(orchestrator):
    orchestrator.environment = foreign_environment() | {"SA01_DATA_DIR": str(orchestrator.data)}
    result = orchestrator.ask("run", "--embedded", "--dry-run")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "model (long-running, not critical" in result.stdout


def test_what_the_command_line_cannot_mean_is_refused(orchestrator):
    unknown = orchestrator.ask("--only", "gatway")
    assert unknown.returncode == 2
    assert "--only takes migrations, gateway, worker, scheduler; not gatway." in unknown.stderr
    assert orchestrator.ask("--only", ",").returncode == 2
    both = orchestrator.ask("--embedded", "--only", "gateway")
    assert both.returncode == 2
    assert "not with --embedded" in both.stderr
    disputed = orchestrator.ask("--embedded", "--dry-run", SA01_DB_HOST="elsewhere")
    assert disputed.returncode == 1
    assert "--embedded decides" in disputed.stderr
    assert "SA01_DB_HOST" in disputed.stderr


def test_a_boot_with_a_broken_configuration_names_every_problem_and_starts_nothing(orchestrator):
    result = orchestrator.ask("run", SA01_GATEWAY_PROT="8000", SA01_DB_USER="nobody_knows_me")
    assert result.returncode == 1
    assert "SA01_GATEWAY_PROT" in result.stderr
    assert "SA01_DB_PASSWORD" in result.stderr
    assert health.load(orchestrator.data / "run") is None


def test_an_orchestrator_of_migrations_ends_when_they_are_applied(orchestrator):
    orchestrator.start("--only", "migrations")
    assert orchestrator.process.wait(SLOW) == 0, orchestrator.said()
    assert "everything is done" in orchestrator.said()


def test_a_worker_alone_waits_for_migrations_and_is_critical_where_it_is_the_point(orchestrator):
    orchestrator.start("--only", "worker")
    orchestrator.wait_until("worker", State.UP)

    record = health.load(orchestrator.data / "run")
    assert record.services["worker"].critical
    assert record.services["migrations"].state is State.DONE
    assert not record.services["scheduler"].critical
    assert record.services["postgres"].latency_ms is not None
    assert "gateway" not in record.services
    assert "All migrations are applied." in (orchestrator.data / "logs" / "migrations.log").read_text(
        encoding="utf-8"
    )
    assert orchestrator.stop() == 0, orchestrator.said()


async def fail_once(breaker):
    with pytest.raises(ZeroDivisionError):
        async with breaker.guard():
            _ = 1 / 0


def test_a_gateway_answers_for_all_and_notices_when_its_orchestrator_is_gone(orchestrator):
    orchestrator.start("--only", "gateway,scheduler")
    orchestrator.wait_until("gateway", State.UP)
    orchestrator.wait_until("scheduler", State.UP)
    url = f"http://{loopback()}:{orchestrator.port}"
    session = requests.Session()
    session.headers["Host"] = re.sub("^https?://", "", orchestrator.environment["SA01_PUBLIC_URL"])

    answer = session.get(f"{url}/api/v1/health", timeout=30)
    body = answer.json()
    assert answer.status_code == 200
    assert body["mode"] == mode()
    assert set(body["services"]) == {
        "openbao",
        "postgres",
        "valkey",
        "migrations",
        "gateway",
        "scheduler",
        "worker",
        "breakers",
        "policy",
        "mcp_servers",
        "events",
    }
    assert session.get(f"{url}/v1/health", timeout=30).json()["services"].keys() == body["services"].keys()
    assert session.get(f"{url}/readyz", timeout=30).json() == {"ready": True, "reasons": []}
    assert 'soma_service_up{service="gateway"} 1.0' in session.get(f"{url}/metrics", timeout=30).text

    assert orchestrator.ask("status").returncode in {0, 1}  # degraded where nobody else runs a worker
    as_json = json.loads(orchestrator.ask("status", "--format", "json").stdout)
    assert as_json["services"]["gateway"]["state"] == "up"

    health, down = f"{url}/api/v1/health", 'soma_service_up{service="breakers"} 0.0'

    def not_closed() -> str:
        told = session.get(health, timeout=30).json()["services"]["breakers"]
        return "" if told["state"] == "up" else told["last_error"]

    breaker = CircuitBreaker(f"model:{uuid4()}:{uuid4()}", failures=1, seconds=60)
    asyncio.run(fail_once(breaker))
    try:
        profile_id = breaker.name.rpartition(":")[2]
        # Other stories' breakers may be open beside it.
        wait_for("health names the model", lambda: profile_id in not_closed())
        orchestrator.wait_until("breakers", State.DOWN)
        opened = session.get(health, timeout=30)
        assert (opened.status_code, opened.json()["status"]) == (200, "degraded")
        assert opened.json()["services"]["breakers"]["last_error"].startswith("Not closed: ")
        wait_for("metrics say so", lambda: down in session.get(f"{url}/metrics", timeout=30).text)
    finally:
        breaker_close(breaker.name)
    wait_for("health forgets the model", lambda: profile_id not in not_closed())

    os.kill(orchestrator.process.pid, signal.SIGSTOP)
    try:
        wait_for("health is stale", lambda: session.get(f"{url}/readyz", timeout=30).status_code == 503)
        stale = session.get(f"{url}/api/v1/health", timeout=30)
        assert stale.status_code == 503
        assert stale.json()["status"] == "unhealthy"
        assert stale.json()["services"]["orchestrator"]["state"] == "down"
        assert session.get(f"{url}/healthz", timeout=30).text == "ok"
    finally:
        os.kill(orchestrator.process.pid, signal.SIGCONT)
    wait_for("health is fresh again", lambda: session.get(f"{url}/readyz", timeout=30).status_code == 200)
    assert orchestrator.stop() == 0, orchestrator.said()


def test_status_of_nothing_is_unhealthy_and_of_something_is_what_was_recorded(orchestrator):
    nothing = orchestrator.ask("status", "--format", "json")
    assert nothing.returncode == 1
    assert json.loads(nothing.stdout)["services"]["orchestrator"]["state"] == "down"

    (orchestrator.data / "run").mkdir(parents=True)
    up = ServiceHealth(state=State.UP, critical=True, since=health.now(), latency_ms=1.25)
    record = HealthRecord("STANDALONE", "1", health.now(), {"gateway": up}, tick_seconds=60.0)
    health.store(orchestrator.data / "run", record)
    table = orchestrator.ask("status")
    assert table.returncode == 0
    assert "gateway" in table.stdout
    assert "healthy (STANDALONE" in table.stdout
