"""Stories of the worker and the scheduler, as real processes on the tests' Valkey."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from django.conf import settings

from somaagent.quitting import QUIT_SECONDS
from tests.integration.observability.processes import Process, eventually, running

CELERY = ["-m", "celery", "--quiet", "-A", "somaagent.celery"]
WORKER = [*CELERY, "worker", "--without-mingle", "--without-gossip"]
LONG_TASK = ["--include", "tests.integration.observability.long_task"]
ENDLESS = ["--include", "tests.integration.observability.endless_end"]


@pytest.fixture
def valkey() -> redis.Redis:
    """The broker, without the messages of other stories."""
    address = settings.VALKEY
    client = redis.Redis(host=address["host"], port=address["port"], password=address["password"])
    client.delete("somaagent", "unacked", "unacked_index")
    return client


def heartbeat(valkey: redis.Redis, service: str, process: Process) -> float | None:
    """When the process last showed itself, in unix time."""
    keys = list(valkey.scan_iter(f"soma:heartbeat:{service}:*:{process.process.pid}"))
    return float(valkey.get(keys[0]) or 0) if keys else None


def swept(worker: Process, task: str = "chat.turns_sweep") -> dict[str, Any] | None:
    """The worker's line about the first sweep that it finished."""
    sweeps = (line for line in worker.lines() if line.get("task") == task)
    return next((line for line in sweeps if "succeeded" in line["event"]), None)


def test_the_scheduler_sends_sweeps_the_worker_runs_them_and_both_show_that_they_live(
    valkey: redis.Redis, tmp_path: Path
):
    environment = {
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "SA01_SWEEP_SECONDS": "1",
        # Otherwise what runs again and again is told of only where it fails.
        "SA01_LOG_LEVEL": "DEBUG",
    }
    password = settings.VALKEY["password"]
    with (
        running(WORKER, tmp_path / "worker.log", **environment) as worker,
        running([*CELERY, "beat"], tmp_path / "beat.log", **environment) as scheduler,
    ):
        for process, service in ((worker, "worker"), (scheduler, "scheduler")):
            seen = eventually(partial(heartbeat, valkey, service, process))
            assert seen is not None
            assert abs(time.time() - seen) < 30
        # The sweep may find turns of other stories, and send messages for them.
        done = eventually(partial(swept, worker))
        assert done["service"] == "worker"
        assert eventually(partial(swept, worker, "chat.schedules_sweep"))
        assert len(done["trace_id"]) == 32
        assert any("turns-sweep" in line["event"] for line in scheduler.lines())

        assert worker.stop(signal.SIGQUIT) < QUIT_SECONDS + 5
        scheduler.stop(signal.SIGTERM)
        assert heartbeat(valkey, "worker", worker) is None
        assert heartbeat(valkey, "scheduler", scheduler) is None
        assert password not in worker.text() + scheduler.text()
    assert not list(Path.cwd().glob("celerybeat*"))


def test_a_task_that_runs_when_its_worker_stops_goes_back_to_the_queue(valkey: redis.Redis, tmp_path: Path):
    from somaagent.celery import app  # noqa: PLC0415 - needs the stack's environment

    with running([*WORKER, *LONG_TASK], tmp_path / "worker.log", SA01_WORKER_CONCURRENCY="1") as worker:
        app.send_task("tests.long", args=[60])
        eventually(lambda: worker.said("event", "long.begun"))
        assert worker.stop(signal.SIGQUIT) < 20
        assert not worker.said("event", "long.ended")
    assert valkey.llen("somaagent") == 1
    assert valkey.hlen("unacked") == 0
    valkey.delete("somaagent")


def test_a_worker_whose_end_stands_still_is_gone_all_the_same(valkey: redis.Redis, tmp_path: Path):
    with running([*WORKER, *ENDLESS], tmp_path / "worker.log", SA01_WORKER_CONCURRENCY="2") as worker:
        eventually(lambda: worker.said("event", "worker.ready"))
        eventually(partial(heartbeat, valkey, "worker", worker))
        family = [worker.process.pid, *(child.pid for child in psutil.Process(worker.process.pid).children())]
        assert len(family) == 3
        assert QUIT_SECONDS <= worker.stop(signal.SIGQUIT) < QUIT_SECONDS + 5
        assert worker.said("event", "quit.forced")
        assert heartbeat(valkey, "worker", worker) is None
        # Whoever inherits killed children takes a moment to bury them.
        eventually(lambda: not any(psutil.pid_exists(pid) for pid in family))


def test_a_killed_child_s_task_runs_again_in_another(valkey: redis.Redis, tmp_path: Path):
    from somaagent.celery import app  # noqa: PLC0415 - needs the stack's environment

    with running([*WORKER, *LONG_TASK], tmp_path / "worker.log", SA01_WORKER_CONCURRENCY="1") as worker:
        app.send_task("tests.long", args=[1])
        eventually(lambda: worker.said("event", "long.begun"))
        os.kill(next(line["pid"] for line in worker.lines() if line["event"] == "long.begun"), signal.SIGKILL)
        eventually(lambda: worker.said("event", "long.ended"))
        assert sum(line["event"] == "long.begun" for line in worker.lines()) == 2
