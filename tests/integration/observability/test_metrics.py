"""Stories of metrics that several real processes share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from somaagent.observability import metrics

WORK = """
import sys
from somaagent.observability import metrics
metrics.TURNS.labels("completed").inc({turns})
metrics.FIRST_TOKEN_SECONDS.observe(0.2)
metrics.STREAMS_OPEN.inc({streams})
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "show":
        body, content_type = metrics.render()
        print(body.decode() + "-- " + content_type, flush=True)
    else:
        metrics.mark_dead(int(line))
        print("-- marked", flush=True)
"""


class Worker:
    """A process that has metrics, and tells those of all when asked."""

    def __init__(self, directory: Path, turns: int, streams: int) -> None:
        environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORK.format(turns=turns, streams=streams)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._out.readline() == "ready\n"

    @property
    def _out(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def ask(self, line: str) -> list[str]:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return list(iter(self._until_mark, ""))

    def _until_mark(self) -> str:
        line = self._out.readline().rstrip("\n")
        return "" if line.startswith("-- ") else line

    def values(self) -> dict[str, float]:
        pairs = [line.rsplit(" ", 1) for line in self.ask("show") if line and not line.startswith("#")]
        return {name: float(value) for name, value in pairs}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[type]:
    started: list[Worker] = []

    def begin(turns: int, streams: int) -> Worker:
        started.append(Worker(tmp_path, turns, streams))
        return started[-1]

    yield begin  # type: ignore[misc]
    for worker in started:
        worker.kill()


def test_the_metrics_of_all_processes_add_up_and_live_ones_end_with_their_process(start):
    first, second, third = start(2, 5), start(3, 7), start(1, 11)
    values = third.values()
    assert values['soma_turns_total{state="completed"}'] == 6
    assert values["soma_first_token_seconds_count"] == 3
    assert values["soma_streams_open"] == 23

    first.kill()
    third.ask(str(first.process.pid))
    second.kill()  # and nobody notes it
    values = third.values()
    assert values["soma_streams_open"] == 11
    assert values['soma_turns_total{state="completed"}'] == 6


@contextmanager
def one_process() -> Iterator[None]:
    directory = os.environ.pop(metrics.DIRECTORY, None)
    try:
        yield
    finally:
        if directory is not None:
            os.environ[metrics.DIRECTORY] = directory


def test_one_process_alone_needs_no_directory_and_speaks_the_format_that_is_asked_for():
    with one_process():
        plain, plain_type = metrics.render("text/plain")
        opened, open_type = metrics.render("application/openmetrics-text; version=1.0.0")
        metrics.mark_dead(1)
    assert b"# TYPE soma_turns_total counter" in plain
    assert plain_type.startswith("text/plain")
    assert open_type.startswith("application/openmetrics-text")
    assert opened.endswith(b"# EOF\n")
