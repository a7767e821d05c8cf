"""The servers of a stack, started in their order and stopped at the end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from somaagent.embedded import EmbeddedServer, NotReady, Stack
from somaagent.embedded.launch import spawn

_READY_SECONDS = 180.0
_STOP_SECONDS = 20.0


@contextlib.contextmanager
def started(stack: Stack) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Start the servers of a locked stack and stop them at the end. Gives their processes by name."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    # The slowest step of a first start, and it needs nobody's password.
    preparation = _Background(stack.postgres.prepare)
    try:
        for server in stack.servers:
            if server is stack.postgres:
                preparation.finish()
            else:
                server.prepare()
            start(server, stack.data_dir, processes)
        yield processes
    finally:
        preparation.finish()
        stop(stack, processes)


def start(server: EmbeddedServer, data_dir: Path, processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Start a server that is prepared, wait until it answers, and configure it."""
    log = data_dir / f"{server.name}.log"
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as output:
        process = processes[server.name] = spawn(server.command(), output=output)
    until = time.monotonic() + _READY_SECONDS
    while True:
        try:
            server.ready()
            break
        except NotReady as reason:
            if process.poll() is not None or time.monotonic() > until:
                said = log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{server.name} does not start: {reason}\n{said}") from reason
            time.sleep(0.02)
    server.configure()


def stop(stack: Stack, processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Stop what runs, in reverse order; what does not end in time is killed."""
    for server in reversed(stack.servers):
        process = processes.pop(server.name, None)
        if process is None or process.poll() is not None:
            continue
        process.send_signal(server.command().stop_signal)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Background:
    """A function at work in a thread; ``finish`` waits for it and raises what it raised, once."""

    def __init__(self, work: Any) -> None:
        self._work = work
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as failure:  # noqa: BLE001 - raised again by ``finish``
            self._failure = failure

    def finish(self) -> None:
        self._thread.join()
        failure, self._failure = self._failure, None
        if failure:
            raise failure
