"""A name of each test's own, another process, and a Valkey that may be restarted."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from django.conf import settings

from somaagent.embedded import wheels
from somaagent.embedded.addresses import loopback
from somaagent.resilience.operators import breaker_close
from tests.stack import PROJECT_ROOT

PASSWORD = "of-this-test-alone"


@pytest.fixture
def name() -> Iterator[str]:
    """A breaker's or a limit's name, closed afterwards: nobody else's health is to suffer."""
    name = f"test:{uuid4()}:{uuid4()}"
    yield name
    breaker_close(name)


@pytest.fixture
def elsewhere() -> Callable[..., list[str]]:
    """What became of the calls of another process; see ``elsewhere.py``."""

    def run(*arguments: object) -> list[str]:
        command = [sys.executable, "-m", "tests.integration.resilience.elsewhere", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=PROJECT_ROOT, env=os.environ, capture_output=True, text=True, timeout=60, check=True
        )
        return list(json.loads(done.stdout.splitlines()[-1]))  # above it: log lines

    return run


class OwnValkey:
    """A Valkey that this test alone uses, and so may stop and start."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server((loopback(), 0)) as free:
            self.port = int(free.getsockname()[1])
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {"port": self.port, "bind": loopback(), "dir": self._folder, "requirepass": PASSWORD}
        told = [word for option, value in options.items() for word in (f"--{option}", str(value))]
        with (self._folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(wheels.valkey()), *told, "--appendonly", "yes", "--appendfsync", "always"], stdout=log
            )
        client = redis.Redis(host=loopback(), port=self.port, password=PASSWORD)
        until = time.monotonic() + 30
        while True:
            try:
                client.ping()
                break
            except redis.RedisError:
                assert time.monotonic() < until, (self._folder / "valkey.log").read_text()
                time.sleep(0.05)
        client.close()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None


@pytest.fixture
def own_valkey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnValkey]:
    """The Valkey of everything that this test's event loop does."""
    valkey = OwnValkey(tmp_path)
    facts = settings.VALKEY | {"host": loopback(), "port": valkey.port, "password": PASSWORD, "tls": False}
    monkeypatch.setattr(settings, "VALKEY", facts)
    valkey.start()
    yield valkey
    valkey.stop()


@pytest.fixture
def impatient(own_valkey: OwnValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a Valkey that does not come back."""
    monkeypatch.setitem(settings.VALKEY, "retries", 3)
