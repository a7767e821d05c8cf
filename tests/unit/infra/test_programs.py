"""The small programs that run inside the containers."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from infra import valkey_acl
from somaagent.observability.health import HealthRecord, ServiceHealth, State, now, store
from tests.unit.infra.conftest import TREE

PUBLIC = "https://agents.example.org"


class Gateway(BaseHTTPRequestHandler):
    """Answers 200 to what comes by the public name over TLS, as Django would have it, else 400."""

    status = 200

    def do_GET(self) -> None:
        addressed = (self.headers["Host"], self.headers["X-Forwarded-Proto"], self.path)
        self.send_response(self.status if addressed == ("agents.example.org", "https", "/healthz") else 400)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Tests have no use for an access log."""


@contextmanager
def gateway(status: int = 200) -> Iterator[int]:
    """A server that answers with the status; its port."""
    address = socket.getaddrinfo(None, 0, socket.AF_INET)[0][4]
    server = HTTPServer((str(address[0]), 0), type("Answering", (Gateway,), {"status": status}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def check(name: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The health check as a container runs it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SA01_")}
    return subprocess.run(
        [sys.executable, TREE / "infra" / "healthcheck.py", name],
        env=environment | settings,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_gateway_that_answers_is_well_and_one_that_fails_or_is_gone_is_not() -> None:
    with gateway() as port:
        assert check("gateway", SA01_GATEWAY_PORT=str(port), SA01_PUBLIC_URL=PUBLIC).returncode == 0
    gone = check("gateway", SA01_GATEWAY_PORT=str(port), SA01_PUBLIC_URL=PUBLIC)
    assert gone.returncode == 1
    assert "does not answer" in gone.stderr
    with gateway(status=503) as port:
        failing = check("gateway", SA01_GATEWAY_PORT=str(port), SA01_PUBLIC_URL=PUBLIC)
    assert failing.returncode == 1
    assert "answers 503" in failing.stderr


def test_a_worker_is_as_well_as_its_orchestrator_wrote_down(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    up = ServiceHealth(State.UP, critical=True, since=now())
    elsewhere = ServiceHealth(State.DOWN, critical=False, since=now())
    down = ServiceHealth(State.RESTARTING, critical=True, since=now(), last_error="It ended with status 1.")

    def told(updated: str, **services: ServiceHealth) -> subprocess.CompletedProcess[str]:
        store(run_dir, HealthRecord(mode="SAAS", version="1", updated=updated, services=services))
        return check("record", SA01_DATA_DIR=str(tmp_path))

    assert told(now(), worker=up, scheduler=elsewhere).returncode == 0
    restarting = told(now(), worker=down)
    assert restarting.returncode == 1
    assert "worker is restarting: It ended with status 1." in restarting.stderr
    long_ago = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    silent = told(long_ago, worker=up)
    assert silent.returncode == 1
    assert "orchestrator" in silent.stderr


def test_a_container_that_has_just_started_is_not_well_yet(tmp_path: Path) -> None:
    assert check("record", SA01_DATA_DIR=str(tmp_path)).returncode == 1
    assert check("neither").returncode == 2


def test_the_access_list_lets_valkey_check_the_password_without_knowing_it(tmp_path: Path) -> None:
    password = "a-password-of-the-test"
    file = tmp_path / "users.acl"
    assert valkey_acl.write(file, valkey_acl.access_list(password))
    text = file.read_text()
    assert password not in text
    assert hashlib.sha256(password.encode()).hexdigest() in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o644, "Valkey runs as another user"
    assert not valkey_acl.write(file, valkey_acl.access_list(password)), "an unchanged list is left alone"
    assert valkey_acl.write(file, valkey_acl.access_list("another"))
