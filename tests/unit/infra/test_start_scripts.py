"""The start scripts, run for real against a stand-in for the docker command."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from settings.registry import REGISTRY
from tests.unit.infra import fake_docker
from tests.unit.infra.conftest import INFRA, STACKS, Stack

SCRIPTS = {"standalone": "start.sh", "saas": "start_saas.sh"}
SHELLCHECK = Path(sys.executable).parent / "shellcheck"
TOOLS = (
    "awk",
    "base64",
    "bash",
    "cat",
    "chmod",
    "date",
    "dirname",
    "head",
    "install",
    "mkdir",
    "mktemp",
    "mv",
)
MORE_TOOLS = ("rm", "sed", "sleep", "env", "git")


@dataclass
class Machine:
    """A copy of one stack's files on a machine with little else on its path than docker."""

    stack: Stack
    home: Path

    @property
    def folder(self) -> Path:
        return self.home / "infra" / self.stack.mode

    @property
    def private(self) -> Path:
        return self.folder / "private"

    def start(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.home / "bin"), "HOME": str(self.home), "POLL_SECONDS": "0"}
        environment |= {"FAKE_DOCKER": str(self.home / "engine"), **variables}
        script = self.folder / SCRIPTS[self.stack.mode]
        return subprocess.run(
            [script, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def calls(self) -> list[dict[str, list[str] | str]]:
        lines = (self.home / "engine" / "calls.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def settings(self) -> dict[str, str]:
        lines = (self.folder / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def bare(stack: Stack, home: Path) -> Machine:
    shutil.copytree(INFRA, home / "infra", ignore=shutil.ignore_patterns(".env", "private", "__pycache__"))
    tools = home / "bin"
    tools.mkdir()
    (home / "engine").mkdir()
    for tool in (*TOOLS, *MORE_TOOLS):
        found = shutil.which(tool)
        assert found, tool
        (tools / tool).symlink_to(found)
    docker = tools / "docker"
    docker.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {fake_docker.__file__} "$@"\n')
    docker.chmod(0o755)
    return Machine(stack, home)


@pytest.fixture
def machine(stack: Stack, tmp_path: Path) -> Machine:
    return bare(stack, tmp_path / "machine")


@pytest.fixture(scope="module")
def first_starts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Machine]:
    """A machine of each mode after its first start; tests take copies."""
    machines = {stack.mode: bare(stack, tmp_path_factory.mktemp(stack.mode) / "machine") for stack in STACKS}
    for machine in machines.values():
        done = machine.start("--host", "agents.example.org")
        assert done.returncode == 0, done.stderr
    return machines


@pytest.fixture
def started(stack: Stack, first_starts: dict[str, Machine], tmp_path: Path) -> Machine:
    home = shutil.copytree(first_starts[stack.mode].home, tmp_path / "machine", symlinks=True)
    return Machine(stack, home)


def test_shellcheck_finds_nothing_and_scripts_can_be_run() -> None:
    scripts = sorted(INFRA.rglob("*.sh"))
    assert len(scripts) == 4
    found = subprocess.run([SHELLCHECK, *scripts], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")
    for script in scripts:
        assert "set -euo pipefail" in script.read_text() or script.name == "common.sh"
        assert os.access(script, os.X_OK) or script.name == "common.sh", script


def test_without_docker_it_says_so_and_touches_nothing(machine: Machine) -> None:
    (machine.home / "bin" / "docker").unlink()
    done = machine.start("--host", "agents.example.org")
    assert done.returncode == 1
    assert "docker is not installed" in done.stderr
    assert not (machine.folder / ".env").exists()
    assert not machine.private.exists()


@pytest.mark.parametrize(
    ("broken", "said"),
    [("compose version", "the compose plugin is missing"), ("info", "the Docker engine does not answer")],
)
def test_a_docker_that_is_not_whole_is_named(machine: Machine, broken: str, said: str) -> None:
    done = machine.start("--host", "agents.example.org", FAKE_BROKEN=broken)
    assert done.returncode == 1
    assert said in done.stderr
    assert not machine.private.exists()


def test_a_first_start_makes_keys_and_settings_for_their_owner_alone(started: Machine) -> None:
    kept = {path.name: path for path in started.private.iterdir()}
    assert set(kept) == {"openbao-seal.key", "openbao-init.json", "operator-token", "postgres-superuser"}
    for path in [*kept.values(), started.folder / ".env"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(started.private.stat().st_mode) == 0o700
    assert len(kept["openbao-seal.key"].read_bytes()) == 32
    assert len(kept["postgres-superuser"].read_text().strip()) == 48
    assert kept["operator-token"].read_text().strip() == fake_docker.ROOT_TOKEN

    settings = started.settings()
    assert settings["SA01_PUBLIC_URL"].endswith(("//agents.example.org", "//agents.example.org:20080"))
    assert settings["SA01_ALLOWED_HOSTS"] == "agents.example.org"
    assert settings["SA01_VAULT_ROLE_ID"] == "role-of-the-app"
    assert settings["SA01_VAULT_OWNER_ROLE_ID"] == "role-of-the-owner"
    assert not {setting.name for setting in REGISTRY if setting.secret} & set(settings)


def test_keys_travel_by_standard_input_and_never_as_an_argument(started: Machine) -> None:
    password = (started.private / "postgres-superuser").read_text().strip()
    seal = (started.private / "openbao-seal.key").read_bytes().decode("latin-1")
    given = {word: str(call["stdin"]) for call in started.calls() for word in call["arguments"]}
    assert given["/deliver/openbao/key"] == seal
    assert given["/deliver/postgres/password"].strip() == password
    assert given["bootstrap"].strip() == fake_docker.ROOT_TOKEN
    assert given["database"].strip() == password
    words = [word for call in started.calls() for word in call["arguments"]]
    assert not [word for word in words if fake_docker.ROOT_TOKEN in word or password in word]


def test_servers_start_in_an_order_in_which_each_finds_what_it_needs(started: Machine) -> None:
    said = [" ".join(call["arguments"]) for call in started.calls()]

    def when(what: str) -> int:
        return next(number for number, line in enumerate(said) if line.endswith(what))

    order = [
        when("deliver /deliver/openbao/key 100:1000"),
        when("up --detach openbao"),
        when("-recovery-threshold=3"),
        when("run --rm -T bootstrap"),
        when("run --rm -T valkey-access"),
        when("up --detach postgres valkey"),
        when("run --rm -T database"),
        when("up --detach --remove-orphans"),
        when("python manage.py seed"),
    ]
    assert order == sorted(order)
    assert when("deliver /deliver/postgres/password 999:999") < when("up --detach postgres valkey")


def test_a_second_start_keeps_keys_and_settings(started: Machine) -> None:
    (started.folder / ".env").write_text((started.folder / ".env").read_text() + "SOMAAGENT_BIND=192.0.2.1\n")
    before = {path: path.read_bytes() for path in [*started.private.iterdir(), started.folder / ".env"]}
    done = started.start()
    assert done.returncode == 0, done.stderr
    after = {path: path.read_bytes() for path in [*started.private.iterdir(), started.folder / ".env"]}
    assert after == before


def test_keys_that_were_moved_away_are_not_made_again(started: Machine) -> None:
    shutil.rmtree(started.private)
    done = started.start()
    assert done.returncode == 0, done.stderr
    assert list(started.private.iterdir()) == []
    assert "Vault is left as it is" in done.stdout


def test_a_vault_that_was_never_filled_needs_the_operator_s_token(started: Machine) -> None:
    (started.home / "engine" / "credentials").unlink()
    (started.private / "operator-token").unlink()
    done = started.start()
    assert done.returncode == 1
    assert f"operator's token in {started.private}/operator-token" in done.stderr


def test_keys_of_another_openbao_are_set_aside_not_overwritten(started: Machine) -> None:
    (started.private / "operator-token").write_text("the token of an OpenBao that is gone\n")
    (started.home / "engine" / "initialised").unlink()
    assert started.start().returncode == 0
    aside = next(started.private.glob("operator-token.of-another-openbao-*"))
    assert "that is gone" in aside.read_text()
    assert (started.private / "operator-token").read_text().strip() == fake_docker.ROOT_TOKEN


def test_a_server_that_stays_unwell_ends_the_start_with_its_name(machine: Machine) -> None:
    common = machine.home / "infra" / "common.sh"
    common.write_text(common.read_text().replace("wait_healthy openbao 60", "wait_healthy openbao 1"))
    done = machine.start("--host", "agents.example.org", FAKE_HEALTH="starting")
    assert done.returncode == 1
    assert "openbao is starting after 1 s" in done.stderr
    assert not [call for call in machine.calls() if "bootstrap" in call["arguments"]]


def test_an_unknown_argument_is_refused_with_the_usage(machine: Machine) -> None:
    done = machine.start("--hots", "agents.example.org")
    assert done.returncode == 2
    assert "Usage:" in done.stderr


def test_saas_wants_a_public_name_before_it_starts(machine: Machine) -> None:
    done = machine.start()
    if machine.stack.mode == "saas":
        assert done.returncode == 1
        assert "needs the public name" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
