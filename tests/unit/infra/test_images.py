"""What the two Dockerfiles promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.unit.infra.conftest import STACKS, TREE, Stack

HADOLINT = Path(sys.executable).parent / "hadolint"


def instructions(stack: Stack) -> list[str]:
    """One line for each instruction, comments left out."""
    lines = [line for line in stack.dockerfile.splitlines() if not line.lstrip().startswith("#")]
    return [line for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines() if line]


def last(stack: Stack, name: str) -> str:
    return [line for line in instructions(stack) if line.startswith(f"{name} ")][-1].removeprefix(f"{name} ")


def test_hadolint_finds_nothing(stack: Stack) -> None:
    found = subprocess.run(
        [HADOLINT, stack.folder / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_everything_that_is_installed_is_checked_against_a_hash(stack: Stack) -> None:
    installs = re.findall(r"pip install[^&]*", "\n".join(instructions(stack)))
    assert len(installs) == 2
    for install in installs:
        assert "--require-hashes" in install
        pins = re.search(r"--requirement (\S+)", install)
        assert pins, install
        assert (TREE / "requirements" / pins[1]).is_file()
    assert f"--requirement {stack.mode}.txt" in installs[-1]


def test_the_orchestrator_is_what_runs_and_not_as_root(stack: Stack) -> None:
    assert last(stack, "ENTRYPOINT") == '["python", "-m", "somaagent.orchestrator"]'
    assert last(stack, "STOPSIGNAL") == "SIGTERM"
    assert last(stack, "USER") == "10001:10001"
    assert "/app/infra/healthcheck.py" in last(stack, "HEALTHCHECK").replace("CMD", "")
    assert int(last(stack, "EXPOSE")) in stack.ports


def test_both_stages_stand_on_the_same_pinned_python(stack: Stack) -> None:
    bases = [line.split()[1] for line in instructions(stack) if line.startswith("FROM ")]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", bases[0])


def test_what_is_copied_is_in_the_tree_and_let_through(stack: Stack) -> None:
    allowed = {line[1:] for line in (TREE / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in instructions(stack):
        if not line.startswith("COPY ") or "--from" in line:
            continue
        for source in line.split()[1:-1]:
            assert (TREE / source).exists(), source
            assert source in allowed or any(Path(source).match(pattern) for pattern in allowed), source


def test_the_two_images_differ_in_mode_and_port_alone() -> None:
    own = r"standalone/start\.sh|saas/build_saas\.sh|standalone|saas|STANDALONE|SAAS|20080|63080"
    one, other = (re.sub(own, "…", stack.dockerfile) for stack in STACKS)
    assert one == other
