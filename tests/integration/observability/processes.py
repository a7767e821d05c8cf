"""Processes of ours, started as the orchestrator starts them, with their lines kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class Process:
    """A started process and what it wrote."""

    def __init__(self, arguments: list[str], log: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                start_new_session=True,
            )

    def text(self) -> str:
        return self._log.read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]

    def said(self, name: str, value: str) -> bool:
        return any(line.get(name) == value for line in self.lines())

    def stop(self, with_signal: signal.Signals, within: float = 60) -> float:
        """Signals it, and gives the seconds until it was gone."""
        begun = time.monotonic()
        self.process.send_signal(with_signal)
        self.process.wait(within)
        return time.monotonic() - begun


@contextmanager
def running(arguments: list[str], log: Path, **environment: str) -> Iterator[Process]:
    process = Process(arguments, log, environment)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # it may have ended by itself, with all its children
            os.killpg(process.process.pid, signal.SIGKILL)
        process.process.wait()


def eventually(look: Callable[[], T], seconds: float = 90) -> T:
    """What ``look`` gives once it gives something true."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, f"not within {seconds} seconds: {look}"
        time.sleep(0.05)
    return found
