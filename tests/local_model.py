"""The embedded model's own process, for tests that want a real model."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.model_server import loopback

PATIENCE_SECONDS = 60.0


@contextmanager
def serving(folder: Path, key: str) -> Iterator[str]:
    """Its base URL, once it has loaded."""
    key_file = folder / "key"
    key_file.write_text(key)
    with socket.socket() as free:
        free.bind((loopback(), 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "somaagent.embedded.model_server", "--host", loopback()]
    command += ["--port", str(port), "--name", "local", "--key-file", str(key_file)]
    child = subprocess.Popen(command)
    try:
        _wait(f"http://{loopback()}:{port}/health", child)
        yield f"http://{loopback()}:{port}/v1"
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(20)


def _wait(address: str, child: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        assert child.poll() is None, "the local model's process ended"
        try:
            if requests.get(address, timeout=1).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise AssertionError("the local model does not load")
