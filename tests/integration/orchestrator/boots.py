"""Starts orchestrators for tests, looks at what they do, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from somaagent.observability import health
from somaagent.observability.health import HealthRecord, ServiceHealth, State

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 60.0


def wait_for(what: str, condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true answer of the condition; fails with ``what`` when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"Not within {seconds} s: {what}")


class Boot:
    """One orchestrator over services of the test's own, in a directory of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen[str] | None = None

    def start(self, *services: dict[str, Any], on: int | None = None, **plan: Any) -> Boot:
        """Over these services, or over the same ones again; with ``on`` as its terminal."""
        path = self.home / "plan.json"
        if services:
            path.write_text(json.dumps({"services": services, **plan}), encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.orchestrator.harness", str(path)],
            cwd=ROOT,
            stdin=on,
            stdout=subprocess.PIPE if on is None else on,
            stderr=subprocess.PIPE if on is None else on,
            text=True,
            env={**os.environ, "TERM": "dumb" if on is None else "xterm"},
            start_new_session=True,
        )
        return self

    # -- what can be seen -----------------------------------------------------------------------------------

    @property
    def run_dir(self) -> Path:
        return self.home / "data" / "run"

    def record(self) -> HealthRecord | None:
        return health.load(self.run_dir)

    def service(self, name: str) -> ServiceHealth | None:
        record = self.record()
        return record.services.get(name) if record else None

    def wait_until(self, name: str, state: State, seconds: float = PATIENCE, **facts: Any) -> ServiceHealth:
        def reached() -> ServiceHealth | None:
            seen = self.service(name)
            if seen is None or seen.state is not state:
                return None
            return seen if all(getattr(seen, key) == value for key, value in facts.items()) else None

        found: ServiceHealth = wait_for(f"{name} is {state.value} {facts}", reached, seconds)
        return found

    def journal(self, *events: str) -> list[str]:
        """``name event`` in the order in which they happened; all events, or those that are asked for."""
        path = self.home / "journal"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        entries = [line.rsplit(" ", 1)[0] for line in lines]
        return [entry for entry in entries if not events or entry.split()[1] in events]

    def pid_of(self, name: str) -> int:
        lines = (self.home / "journal").read_text(encoding="utf-8").splitlines()
        return int([line for line in lines if line.startswith(f"{name} started")][-1].rsplit(" ", 1)[1])

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on this test's account: the services, their children, the guard."""
        pids = {int(line.rsplit(" ", 1)[1]) for line in self._journal_lines()}
        pids |= {int(path.read_text(encoding="utf-8")) for path in self.home.glob("*.child")}
        return [process for pid in pids if (process := living(pid))]

    def _journal_lines(self) -> list[str]:
        path = self.home / "journal"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def log(self, name: str) -> str:
        return (self.home / "data" / "logs" / f"{name}.log").read_text(encoding="utf-8")

    # -- what can be done -----------------------------------------------------------------------------------

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, seconds: float = PATIENCE) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of an orchestrator that ends."""
        assert self.process is not None
        output, errors = self.process.communicate(timeout=seconds)
        return self.process.returncode, output, errors

    def stop(self) -> tuple[int, str, str]:
        self.send(signal.SIGTERM)
        return self.end()

    def clean_up(self) -> None:
        """Whatever a failed test has left."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        for process in self.processes():
            process.kill()


def living(pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.NoSuchProcess:
        return None
