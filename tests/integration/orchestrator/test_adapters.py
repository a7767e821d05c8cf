"""Each adapter tells a server that works from one that does not, and says why, against the real servers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import closing

import pytest
from django.conf import settings

from somaagent.embedded.addresses import loopback
from somaagent.orchestrator import adapters
from somaagent.orchestrator.registry import NotHealthy
from somaagent.orchestrator.stamp import Stamp


@pytest.fixture
def closed_port():
    with closing(socket.create_server((loopback(), 0))) as listener:
        return listener.getsockname()[1]


def test_the_servers_of_the_stack_are_well_and_closed_ports_are_not(monkeypatch, closed_port):
    address = os.environ["SA01_VAULT_ADDR"]
    adapters.OpenBao(lambda: address, lambda: None).check(None)
    adapters.PostgreSQL().check(None)
    adapters.Valkey().check(None)

    with pytest.raises(NotHealthy, match="does not answer"):
        adapters.OpenBao(lambda: f"http://{loopback()}:{closed_port}", lambda: None).check(None)
    monkeypatch.setitem(settings.DATABASES["default"], "PORT", closed_port)
    with pytest.raises(NotHealthy, match="refused"):
        adapters.PostgreSQL().check(None)
    monkeypatch.setitem(settings.VALKEY, "port", closed_port)
    with pytest.raises(NotHealthy):
        adapters.Valkey().check(None)
    with pytest.raises(NotHealthy, match="Valkey, where its heartbeat is kept"):
        adapters.Heartbeat("worker").check(None)


def test_a_wrong_password_is_a_reason_that_does_not_show_it(monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "swordfish")
    with pytest.raises(NotHealthy, match="password authentication failed") as refused:
        adapters.PostgreSQL().check(None)
    assert "swordfish" not in str(refused.value)

    monkeypatch.setitem(settings.VALKEY, "password", "swordfish")
    with pytest.raises(NotHealthy) as refused:
        adapters.Valkey().check(None)
    assert "swordfish" not in str(refused.value)


def test_a_server_that_accepts_and_says_nothing_is_given_up_on_soon():
    with closing(socket.create_server((loopback(), 0))) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(NotHealthy, match="timed out"):
            adapters.Http(lambda: f"http://{loopback()}:{port}/healthz").check(None)
        assert time.monotonic() - began < 4


def test_a_heartbeat_is_looked_for_by_pid_or_anywhere_and_must_be_fresh():
    kind = f"test-{os.getpid()}"
    adapter = adapters.Heartbeat(kind)
    client = adapters.connect_valkey()
    with pytest.raises(NotHealthy, match="no heartbeat"):
        adapter.check(None)

    here = adapters.HEARTBEAT_KEY.format(kind=kind, where=f"{socket.gethostname()}:4711")
    client.set(here, time.time(), ex=30)
    adapter.check(None)
    adapter.check(4711)
    with pytest.raises(NotHealthy, match="no heartbeat"):
        adapter.check(4712)

    client.set(here, time.time() - 20, ex=30)
    with pytest.raises(NotHealthy, match="20 s old"):
        adapter.check(4711)
    client.delete(here)
    client.close()


def test_a_prepared_database_is_known_until_anything_changes(tmp_path):
    stamp = Stamp(tmp_path, extra=("a model's address",))
    assert not stamp.valid()
    stamp.put()
    assert stamp.valid()
    assert not Stamp(tmp_path, extra=("another address",)).valid()
    (tmp_path / "prepared.json").write_text("{torn", encoding="utf-8")
    assert not stamp.valid()


def test_what_the_orchestrator_asks_needs_no_application_of_django_s():
    """Its process has none: an import of models would make the health of what is well say ``down``."""
    program = [sys.executable, "-m", "tests.integration.orchestrator.without_apps"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
