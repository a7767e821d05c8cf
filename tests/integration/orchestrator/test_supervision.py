"""Watching: what dies is started again, what is asked to stop may finish, what is killed leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import time

import psutil

from somaagent.observability import health
from somaagent.observability.health import State, Status

from .boots import living, wait_for


def test_a_service_that_is_killed_comes_back_and_health_says_so_meanwhile(boot):
    boot.start(
        {"name": "gateway", "does": ["--ready-after", "0.3"], "restart": {"first_delay": 0.5}},
        {"name": "worker", "critical": False, "does": []},
    )
    boot.wait_until("gateway", State.UP)
    boot.wait_until("worker", State.UP)

    os.kill(boot.pid_of("gateway"), signal.SIGKILL)
    meanwhile = boot.wait_until("gateway", State.RESTARTING)
    assert meanwhile.last_error == "It was ended by SIGKILL."
    assert meanwhile.restarts == 1
    assert boot.record().status is Status.UNHEALTHY
    after = boot.wait_until("gateway", State.UP, restarts=1)
    assert after.last_error == "It was ended by SIGKILL."
    assert after.since > meanwhile.since
    assert boot.record().status is Status.HEALTHY

    os.kill(boot.pid_of("worker"), signal.SIGTERM)
    boot.wait_until("worker", State.RESTARTING)
    assert boot.record().status is Status.DEGRADED
    boot.wait_until("worker", State.UP, restarts=1)
    assert boot.journal("started").count("gateway started") == 2
    assert boot.stop()[0] == 0


def test_restarts_back_off_and_a_crash_loop_is_given_up(boot):
    boot.start(
        {
            "name": "gateway",
            "does": ["--die-after", "0.05"],
            "restart": {"first_delay": 0.2, "limit": 3, "window": 30.0},
        },
        {"name": "vault", "does": []},
    )
    began = time.monotonic()
    failed = boot.wait_until("gateway", State.FAILED)
    assert time.monotonic() - began > 0.2 + 0.4 + 0.8
    assert boot.journal("died") == ["gateway died"] * 4
    assert (
        failed.last_error == "It exited with status 3. It died 4 times within 30 s and is not started again."
    )
    assert boot.record().status is Status.UNHEALTHY
    assert boot.service("vault").state is State.UP
    time.sleep(0.5)
    assert boot.process.poll() is None
    assert len(boot.journal("died")) == 4

    status, _, _ = boot.stop()
    assert status == 0
    assert boot.processes() == []


def test_in_a_container_a_crash_loop_ends_the_orchestrator(boot):
    boot.start(
        {"name": "gateway", "does": ["--die-after", "0.05"]}, {"name": "vault", "does": []}, stays=False
    )
    status, output, _ = boot.end()
    assert status == 1
    assert "a critical service was given up" in output
    assert boot.journal("stopped") == ["vault stopped"]
    assert boot.processes() == []


def test_a_service_that_hangs_is_started_again(boot):
    boot.start({"name": "gateway", "does": ["--deaf"], "hung_after": 0.5, "stop_timeout": 0.3})
    boot.wait_until("gateway", State.UP)
    (boot.home / "gateway.ready").unlink()
    boot.wait_until("gateway", State.DOWN)
    again = boot.wait_until("gateway", State.UP, restarts=1)
    assert "It did not answer for" in str(again.last_error)
    assert boot.stop()[0] == 0


def test_work_under_way_may_finish_before_what_it_needs_is_stopped(boot):
    boot.start(
        {"name": "database", "does": []},
        {"name": "worker", "depends_on": ["database"], "does": ["--drain", "1.0"], "stop_timeout": 5.0},
    )
    boot.wait_until("worker", State.UP)
    boot.send(signal.SIGTERM)
    boot.wait_until("worker", State.STOPPING)
    assert boot.record().status is Status.UNHEALTHY  # so that no new work is sent here
    assert boot.service("database").state is State.UP
    status, _, _ = boot.end()
    assert status == 0
    assert boot.journal("stopped") == ["worker stopped", "database stopped"]


def test_a_second_signal_hurries(boot):
    boot.start(
        {"name": "database", "does": []},
        {"name": "worker", "depends_on": ["database"], "does": ["--drain", "150"], "stop_timeout": 170.0},
    )
    boot.wait_until("worker", State.UP)
    boot.send(signal.SIGINT)
    wait_for("the worker drains", lambda: "worker stopping" in boot.journal())
    boot.send(signal.SIGINT)
    status, _, _ = boot.end()
    assert status == 0
    # Not the worker, which would have drained for longer than anybody here waits.
    assert boot.journal("stopped") == ["database stopped"]
    assert boot.processes() == []


def test_what_does_not_stop_in_time_is_killed_with_its_children(boot):
    boot.start({"name": "worker", "does": ["--deaf", "--child"], "stop_timeout": 0.5})
    boot.wait_until("worker", State.UP)
    assert len(boot.processes()) == 2
    status, output, _ = boot.stop()
    assert status == 0
    assert "killed: it did not stop in time" in output
    assert boot.processes() == []


def test_the_children_of_a_service_that_died_go_with_it(boot):
    boot.start({"name": "worker", "does": ["--child", "--die-after", "0.3", "--die-once"]})
    boot.wait_until("worker", State.UP)
    first = int((boot.home / "worker.child").read_text(encoding="utf-8"))
    boot.wait_until("worker", State.UP, restarts=1)
    assert living(first) is None
    assert boot.stop()[0] == 0


def test_an_orchestrator_that_is_killed_leaves_nothing_and_the_next_start_works(boot):
    boot.start(
        {"name": "database", "does": ["--child"]},
        {"name": "gateway", "depends_on": ["database"], "does": ["--deaf", "--child"], "stop_timeout": 0.5},
    )
    boot.wait_until("gateway", State.UP)
    guards = [
        child for child in psutil.Process(boot.process.pid).children() if "guard.py" in str(child.cmdline())
    ]
    assert len(boot.processes()) == 4
    assert len(guards) == 1

    boot.send(signal.SIGKILL)
    boot.end()
    wait_for("everything has ended", lambda: not boot.processes() and not guards[0].is_running(), seconds=10)

    boot.start()
    wait_for("the gateway has started again", lambda: boot.journal("started").count("gateway started") == 2)
    boot.wait_until("gateway", State.UP)
    assert boot.record().status is Status.HEALTHY
    assert boot.stop()[0] == 0
    assert boot.processes() == []


def test_what_outlives_even_the_guard_is_ended_by_the_next_start_and_nobody_else_is(boot):
    boot.start({"name": "gateway", "does": ["--deaf"], "stop_timeout": 0.5})
    boot.wait_until("gateway", State.UP)
    for child in psutil.Process(boot.process.pid).children():
        if "guard.py" in str(child.cmdline()):
            child.kill()
    boot.send(signal.SIGKILL)
    boot.end()
    (left,) = boot.processes()

    record = json.loads((boot.run_dir / "pids.json").read_text(encoding="utf-8"))
    stranger = {"service": "stranger", "pid": os.getpid(), "started": 1}
    record["processes"].append(stranger)
    (boot.run_dir / "pids.json").write_text(json.dumps(record), encoding="utf-8")
    boot.start()
    wait_for(
        "the left-over has ended", lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE
    )
    wait_for("the gateway has started again", lambda: boot.journal("started").count("gateway started") == 2)
    boot.wait_until("gateway", State.UP)
    _, output, _ = boot.stop()
    assert str(left.pid) in output


def test_a_record_that_cannot_be_written_does_not_end_the_supervision(boot):
    boot.start({"name": "gateway", "does": []})
    boot.wait_until("gateway", State.UP)
    pid = boot.pid_of("gateway")

    def in_the_way() -> bool:
        try:
            (boot.run_dir / health.FILE_NAME).unlink()
            (boot.run_dir / health.FILE_NAME).mkdir()
        except OSError:
            return False  # the orchestrator has just written it: once more
        return True

    wait_for("a folder is where the record should be", in_the_way)
    os.kill(pid, signal.SIGKILL)
    wait_for(
        "it is started again all the same", lambda: boot.journal("started").count("gateway started") == 2
    )
    assert boot.stop()[0] == 0


def test_a_check_that_hangs_delays_no_other(boot):
    (boot.home / "slow.ready").touch()
    boot.start(
        {"name": "slow", "critical": False, "check_takes": 60.0, "check_timeout": 0.5, "start_timeout": 1.0},
        {"name": "gateway", "does": []},
    )
    boot.wait_until("gateway", State.UP)
    down = boot.wait_until("slow", State.DOWN)
    assert "No answer within" in str(down.last_error)
    assert down.latency_ms > 400
    os.kill(boot.pid_of("gateway"), signal.SIGKILL)
    boot.wait_until("gateway", State.UP, seconds=5, restarts=1)
    assert health.age_seconds(boot.record()) < 1.0
    began = time.monotonic()
    assert boot.stop()[0] == 0
    assert time.monotonic() - began < 10
