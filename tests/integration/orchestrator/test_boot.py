"""Booting: in order, side by side where possible, and not at all when something critical is missing."""

from __future__ import annotations

import json
import os
import pty
import signal
import stat

from somaagent.observability.health import State, Status

from .boots import wait_for


def test_services_start_after_what_they_need_and_stop_before_it(boot):
    boot.start(
        {"name": "gateway", "depends_on": ["database", "cache"], "does": []},
        {"name": "database", "depends_on": ["vault"], "does": ["--ready-once", "cache.ready"]},
        {"name": "cache", "depends_on": ["vault"], "does": ["--ready-once", "database.started"]},
        {"name": "vault", "does": ["--ready-after", "0.2"]},
    )
    boot.wait_until("gateway", State.UP)
    assert boot.record().status is Status.HEALTHY

    status, output, _ = boot.stop()

    assert status == 0
    began = boot.journal("started", "ready")
    assert began.index("vault ready") < min(began.index("database started"), began.index("cache started"))
    assert began.index("database started") < began.index("cache ready") < began.index("database ready")
    assert began.index("database ready") < began.index("gateway started")
    ended = boot.journal("stopping", "stopped")
    assert ended[:2] == ["gateway stopping", "gateway stopped"]
    assert ended[-2:] == ["vault stopping", "vault stopped"]
    assert boot.processes() == []
    assert {service.state for service in boot.record().services.values()} == {State.STOPPED}
    assert "Hello, person." in output


def test_services_without_a_mutual_dependency_start_side_by_side(boot):
    names = ("a", "b", "c", "d")
    everybody = [f"{name}.started" for name in names]
    boot.start(*({"name": name, "does": ["--ready-once", *everybody]} for name in names))
    for name in names:
        boot.wait_until(name, State.UP)
    assert boot.stop()[0] == 0


def test_a_critical_service_that_dies_at_its_start_ends_the_boot_with_its_last_words(boot):
    boot.start(
        {"name": "vault", "does": []},
        {"name": "database", "depends_on": ["vault"], "does": []},
        {
            "name": "gateway",
            "depends_on": ["database"],
            "does": ["--finish", "7", *(word for n in range(20) for word in ("--say", f"line {n}"))],
        },
        {"name": "worker", "depends_on": ["gateway"], "does": []},
    )

    status, _, errors = boot.end()

    assert status == 1
    assert "gateway could not be started: It exited with status 7 before it was ready." in errors
    assert "line 4\n" not in errors
    assert [line.strip() for line in errors.splitlines() if "line " in line] == [
        f"line {n}" for n in range(5, 20)
    ]
    assert boot.journal("stopped") == ["database stopped", "vault stopped"]
    assert "worker started" not in boot.journal()
    assert boot.processes() == []
    assert boot.service("gateway").state is State.FAILED


def test_a_critical_service_that_never_answers_ends_the_boot_with_the_reason(boot):
    boot.start({"name": "database", "does": ["--never-ready"], "start_timeout": 0.5})
    status, _, errors = boot.end()
    assert status == 1
    assert "database could not be started: It was not ready after 0 s. database.ready is not there." in errors
    assert boot.processes() == []


def test_a_program_that_is_not_there_is_a_reason_too(boot):
    boot.start({"name": "vault", "does": ["--no-such-option"]})
    status, _, errors = boot.end()
    assert status == 1
    assert "unrecognized arguments: --no-such-option" in errors


def test_a_service_that_is_not_critical_may_fail_while_the_others_come_up(boot):
    boot.start(
        {"name": "model", "critical": False, "does": ["--finish", "1"]},
        {"name": "tuner", "critical": False, "depends_on": ["model"], "does": []},
        {"name": "gateway", "does": []},
    )
    boot.wait_until("gateway", State.UP)
    boot.wait_until("model", State.FAILED)

    record = boot.record()
    assert record.status is Status.DEGRADED
    assert "is not started again" in str(record.services["model"].last_error)
    assert record.services["tuner"].state is State.WAITING
    status, output, _ = boot.stop()
    assert status == 0
    assert "Hello, person." in output


def test_one_shot_services_run_once_before_the_others_and_may_be_repeated_until_they_succeed(boot):
    boot.start(
        {"name": "migrations", "one_shot": True, "repeat_seconds": 0.1, "does": ["--finish-well-on", "3"]},
        {"name": "gateway", "depends_on": ["migrations"], "does": []},
    )
    boot.wait_until("gateway", State.UP)
    assert boot.journal("started") == ["migrations started"] * 3 + ["gateway started"]
    assert boot.service("migrations").state is State.DONE
    assert boot.record().status is Status.HEALTHY
    assert boot.stop()[0] == 0


def test_an_orchestrator_of_one_shots_ends_when_they_are_done(boot):
    (boot.home / "database.ready").touch()
    boot.start(
        {"name": "database"},
        {"name": "migrations", "depends_on": ["database"], "one_shot": True, "does": ["--finish", "0"]},
    )
    status, output, _ = boot.end()
    assert status == 0
    assert "everything is done" in output


def test_an_external_service_is_waited_for_and_watched_but_never_stopped(boot):
    boot.start({"name": "database"}, {"name": "gateway", "depends_on": ["database"], "does": []})
    boot.wait_until("database", State.STARTING)
    assert boot.journal() == []

    (boot.home / "database.ready").touch()
    boot.wait_until("gateway", State.UP)
    (boot.home / "database.ready").unlink()
    down = boot.wait_until("database", State.DOWN)
    assert boot.record().status is Status.UNHEALTHY
    assert down.last_error == "database.ready is not there."

    (boot.home / "database.ready").touch()
    boot.wait_until("database", State.UP)
    assert boot.record().status is Status.HEALTHY
    assert boot.stop()[0] == 0


def test_what_services_print_is_kept_as_json_and_one_time_secrets_are_not(boot):
    secret = json.dumps({"operator": "ada", "password": "swordfish", "api_key": "soma_swordfish"})
    boot.start(
        {
            "name": "seed",
            "one_shot": True,
            "secret": True,
            "does": ["--say", "Seeding.", "--say", secret, "--finish", "0"],
        },
        {
            "name": "gateway",
            "depends_on": ["seed"],
            "does": ["--say", "plain words", "--say", '{"event": "json words"}'],
        },
    )
    boot.wait_until("gateway", State.UP)
    _, output, errors = boot.stop()

    lines = [json.loads(line) for line in boot.log("gateway").splitlines()]
    assert [line["event"] for line in lines] == ["plain words", "json words"]
    assert lines[0]["service"] == "gateway"
    assert '"plain words"' in output
    logs = "".join(path.read_text(encoding="utf-8") for path in (boot.home / "data" / "logs").iterdir())
    assert "Seeding." in logs
    assert "swordfish" not in logs + output + errors
    private = [*(boot.home / "data").rglob("*")]
    assert private
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in private)


def test_a_terminal_shows_a_table_while_booting_and_then_what_to_do(boot):
    (boot.home / "plan.json").write_text(
        json.dumps({"services": [{"name": "gateway", "does": ["--ready-after", "0.5"]}]}), encoding="utf-8"
    )
    controller, terminal = pty.openpty()
    boot.start(on=terminal)
    os.close(terminal)
    seen = ""

    def read() -> str:
        nonlocal seen
        seen += os.read(controller, 65_536).decode("utf-8", "replace")
        return seen

    wait_for("the person is greeted", lambda: "Hello, person." in read())
    boot.send(signal.SIGINT)
    wait_for("it says that it has stopped", lambda: "Stopped after" in read())
    assert boot.process.wait(10) == 0
    os.close(controller)

    for words in ("service", "gateway", "starting", "up", "Ready after", "Stopping: SIGINT"):
        assert words in seen
    assert '"service": "gateway"' not in seen
    assert boot.processes() == []


def test_two_orchestrators_do_not_share_a_directory(boot):
    boot.start({"name": "gateway", "does": []})
    boot.wait_until("gateway", State.UP)
    first = boot.process

    boot.start()
    status, _, errors = boot.end()
    assert status == 1
    assert "Another orchestrator is running on" in errors

    boot.process = first
    assert boot.service("gateway").state is State.UP
    assert boot.stop()[0] == 0


def test_a_stop_in_the_middle_of_a_boot_is_a_clean_one(boot):
    boot.start(
        {"name": "vault", "does": []}, {"name": "gateway", "depends_on": ["vault"], "does": ["--never-ready"]}
    )
    wait_for("the gateway has begun", lambda: "gateway started" in boot.journal())
    boot.send(signal.SIGINT)
    status, output, _ = boot.end()
    assert status == 0
    assert "Hello" not in output
    assert boot.journal("stopped") == ["gateway stopped", "vault stopped"]
    assert boot.processes() == []
