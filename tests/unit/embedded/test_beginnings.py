"""How a data directory is taken: by one at a time, after ending what a crash left, and only if understood."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from somaagent.embedded import AlreadyRunning, NewerSchema, Stack
from somaagent.embedded.addresses import loopback
from somaagent.embedded.launch import Command, plain_environment, spawn


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path):
    told = rf"already running on {tmp_path}/data, pid {os.getpid()}; see"
    with Stack(tmp_path / "data").lock(), pytest.raises(AlreadyRunning, match=told):
        Stack(tmp_path / "data").lock()
    with Stack(tmp_path / "data").lock():
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_directory_of_a_later_version_is_refused_and_left_as_it_is(tmp_path: Path):
    (tmp_path / "schema").write_text("7\n")
    with pytest.raises(NewerSchema, match=r"its schema is 7, this version knows 1\b"):
        Stack(tmp_path).lock()
    assert (tmp_path / "schema").read_text() == "7\n"
    assert not (tmp_path / "openbao").exists()


def test_ports_last_from_start_to_start_and_give_way_to_a_stranger(tmp_path: Path):
    first = Stack(tmp_path)
    with first.lock():
        before = first.environment()
    with socket.socket() as stranger:
        stranger.bind((loopback(), int(before["SA01_VALKEY_PORT"])))
        stranger.listen()
        second = Stack(tmp_path)
        with second.lock():
            after = second.environment()
            onlooker = Stack(tmp_path).environment()
    assert after["SA01_VALKEY_PORT"] != before["SA01_VALKEY_PORT"]
    assert after["SA01_DB_PORT"] == before["SA01_DB_PORT"]
    assert json.loads((tmp_path / "ports.json").read_text())["valkey"] == int(after["SA01_VALKEY_PORT"])
    assert onlooker == after


def test_what_a_crashed_start_left_running_is_ended_and_nothing_else(tmp_path: Path):
    stack = Stack(tmp_path)
    with stack.lock():
        command = waiting(stack, "valkey", tmp_path)
        left = spawn(command, output=subprocess.DEVNULL)
    other = subprocess.Popen(command.argv)  # the same program, and none of ours
    await_program(left.pid, command)
    with Stack(tmp_path).lock():
        assert not psutil.pid_exists(left.pid)
        assert other.poll() is None
        assert list((tmp_path / "run").glob("*.pid")) == []
    other.kill()
    other.wait()


def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(tmp_path: Path):
    other = subprocess.Popen(["sleep", "60"])
    facts = {"pid": other.pid, "started": psutil.Process(other.pid).create_time() - 60, "stop_signal": 15}
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "run" / "postgres.pid").write_text(json.dumps(facts | {"argv": ["sleep", "60"]}))
    (tmp_path / "run" / "valkey.pid").write_text("cut o")
    with Stack(tmp_path).lock():
        assert other.poll() is None
    other.kill()
    other.wait()


def waiting(stack: Stack, name: str, folder: Path) -> Command:
    """A command that stands in for a server: it only waits."""
    pid_file = folder / "run" / f"{name}.pid"
    pid_file.parent.mkdir(mode=0o700, exist_ok=True)
    return Command(argv=["/bin/sleep", "61"], env=plain_environment(folder), cwd=folder, pid_file=pid_file)


def await_program(pid: int, command: Command) -> None:
    while psutil.Process(pid).cmdline() != list(command.argv):
        pass
