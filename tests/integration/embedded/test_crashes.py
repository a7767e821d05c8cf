"""What is written stays, whatever ends the servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

from somaagent.embedded import NotReady, Stack
from somaagent.embedded.launch import spawn
from tests.integration.embedded.house import House
from tests.servers import started

GONE_WITHIN = 10.0


def test_a_second_start_finds_what_the_first_one_wrote(tmp_path: Path):
    stack = Stack(tmp_path / "data", model=False)
    with stack.lock(), started(stack) as processes:
        House(stack, processes).write("kept")
        first = stack.environment()
    again = Stack(tmp_path / "data", model=False)
    with again.lock(), started(again) as processes:
        assert House(again, processes).read() == {
            "openbao": ["kept"],
            "postgres": ["kept"],
            "valkey": ["kept"],
        }
        assert again.environment() == first


@pytest.mark.parametrize("name", ["openbao", "postgres", "valkey"])
def test_a_killed_server_comes_back_with_its_data(house: House, name: str):
    house.write(f"before {name} died")
    house.kill(name)
    with pytest.raises(NotReady):
        next(server for server in house.stack.servers if server.name == name).ready()
    house.restart(name)
    assert all(notes[-1] == f"before {name} died" for notes in house.read().values())


def test_a_killed_model_server_comes_back(house: House):
    house.kill("model")
    house.restart("model")
    key = {"Authorization": f"Bearer {house.secret('models/local', 'api_key')}"}
    models = requests.get(
        house.stack.environment()["SA01_LOCAL_MODEL_URL"] + "/models", headers=key, timeout=5
    )
    assert [model["id"] for model in models.json()["data"]] == ["smollm2-135m-instruct"]


def test_a_lock_of_postgres_that_now_names_somebody_else_is_no_obstacle(house: House):
    house.write("before the crash")
    house.kill("postgres")
    lock = house.stack.data_dir / "postgres" / "data" / "postmaster.pid"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    house.restart("postgres")
    assert house.read()["postgres"][-1] == "before the crash"


def test_an_append_only_file_cut_off_in_a_command_loses_that_command_only(house: House):
    house.valkey().rpush("torn", "whole")
    house.valkey().rpush("torn", "cut off")
    house.kill("valkey")
    (journal,) = (house.stack.data_dir / "valkey" / "data" / "appendonlydir").glob("*.incr.aof")
    os.truncate(journal, journal.stat().st_size - 3)
    house.restart("valkey")
    assert house.valkey().lrange("torn", 0, -1) == ["whole"]


def test_a_set_up_of_openbao_that_was_cut_off_is_done_again(tmp_path: Path):
    interrupted = Stack(tmp_path / "data", model=False)
    with interrupted.lock():
        server = interrupted.openbao
        server.prepare()
        process = spawn(server.command(), output=subprocess.DEVNULL)
        await_ready(interrupted)
        # Set up, and killed before the keys that the answer holds were kept.
        (tmp_path / "data" / "openbao" / "setup-started").touch(mode=0o600)
        interrupted.openbao._folder.vault(seconds=60, login=False).sys.initialize(
            recovery_shares=1, recovery_threshold=1
        )
        process.kill()
        process.wait()
    stack = Stack(tmp_path / "data", model=False)
    with stack.lock(), started(stack) as processes:
        House(stack, processes).write("it works")


def await_ready(stack: Stack) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            return stack.openbao.ready()
        except NotReady:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_first_start_that_is_killed_again_and_again_still_ends_well(tmp_path: Path):
    for seconds in (1.2, 2.2, 3.4):
        starter = start_elsewhere(tmp_path)
        time.sleep(seconds)
        starter.kill()
        starter.wait()
    stack = Stack(tmp_path / "data", model=False)
    with stack.lock(), started(stack) as processes:
        house = House(stack, processes)
        house.write("at last")
        assert all(notes[-1] == "at last" for notes in house.read().values())


def start_elsewhere(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integration.embedded.starter", str(folder / "data")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_when_their_starter_is_killed_no_server_is_left_and_the_next_start_finds_the_data(tmp_path: Path):
    starter = start_elsewhere(tmp_path)
    assert starter.stdout
    family = [psutil.Process(pid) for pid in json.loads(starter.stdout.readline())]
    assert len(family) > 6
    starter.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=GONE_WITHIN)
    assert [process.cmdline() for process in alive] == []
    starter.wait()

    stack = Stack(tmp_path / "data", model=False)
    with stack.lock(), started(stack) as processes:
        house = House(stack, processes)
        assert house.read() == {"openbao": ["kept"], "postgres": ["kept"], "valkey": ["kept"]}
