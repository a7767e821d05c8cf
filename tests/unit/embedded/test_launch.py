"""What becomes of a program that is launched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from somaagent.embedded import EmbeddedError
from somaagent.embedded.launch import Command, plain_environment, run, spawn


def command(folder: Path, *argv: str, unprivileged: bool = False) -> Command:
    return Command(argv=argv, env=plain_environment(folder), cwd=folder, unprivileged=unprivileged)


def python(folder: Path, code: str, *, unprivileged: bool = False) -> Command:
    return command(folder, sys.executable, "-c", code, unprivileged=unprivileged)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_it_runs_by_itself_with_nothing_of_our_environment(tmp_path: Path):
    facts = run(
        python(
            tmp_path,
            "import os\n"
            "print(os.getcwd(), os.getsid(0) == os.getpid(), sorted(os.environ))\n"
            "open('made', 'w').close()",
        ),
        timeout=20,
        what="it",
    )
    assert facts.startswith(f"{tmp_path} True ['HOME', 'LANG', 'LC_ALL', 'PATH', 'TZ']")
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


def test_a_program_that_must_not_be_root_is_not(tmp_path: Path):
    made = (
        "import os; open('made', 'w').close(); print(os.getuid() != 0, os.stat('made').st_uid == os.getuid())"
    )
    assert run(python(tmp_path, made, unprivileged=True), timeout=20, what="it").split() == ["True", "True"]
    assert (tmp_path / "made").stat().st_uid == os.getuid()


def test_a_kernel_that_allows_no_user_namespace_is_named_as_the_reason(tmp_path: Path):
    # Root of a namespace in which no further one may be made.
    code = (
        "open('/proc/sys/user/max_user_namespaces', 'w').write('0')\n"
        "import pathlib, subprocess\n"
        "from somaagent.embedded.launch import Command, spawn\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "spawn(Command(argv=['/bin/true'], env={}, cwd=folder, unprivileged=True), output=1).wait()"
    )
    said = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    assert "Cannot start /bin/true: " in said
    assert "unshare(CLONE_NEWUSER)" in said
    assert "allow user namespaces" in said


def test_a_failure_is_told_with_its_last_words(tmp_path: Path):
    with pytest.raises(EmbeddedError, match=r"The step failed with status 3:\nno such luck"):
        run(command(tmp_path, "sh", "-c", "echo no such luck; exit 3"), timeout=20, what="The step")
    with pytest.raises(EmbeddedError, match=r"status 126:\nCannot start .*nowhere"):
        run(command(tmp_path, "/nowhere/at-all"), timeout=20, what="The step")


def test_what_takes_too_long_is_ended_with_its_children(tmp_path: Path):
    with pytest.raises(EmbeddedError, match="longer than 1 second"):
        run(command(tmp_path, "sh", "-c", "sleep 60 & echo $! > child; wait"), timeout=1, what="The step")
    child = int((tmp_path / "child").read_text())
    until = time.monotonic() + 5  # the kernel may take a moment to end what was killed
    while _runs(child):
        assert time.monotonic() < until, "the child outlived its parent"
        time.sleep(0.02)


def test_only_the_main_thread_may_spawn(tmp_path: Path):
    caught: list[RuntimeError] = []

    def elsewhere() -> None:
        try:
            spawn(command(tmp_path, "true"), output=subprocess.DEVNULL)
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_it_dies_with_its_starter_by_the_signal_that_it_asked_for(tmp_path: Path):
    code = (
        "import os, pathlib, signal, subprocess\n"
        "from somaagent.embedded.launch import Command, spawn\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "script = 'trap \"echo farewell > said; exit\" USR1; echo up > state; while :; do sleep 0.05; done'\n"
        "spawn(Command(argv=['sh', '-c', script], env={'PATH': os.environ['PATH']}, cwd=folder,\n"
        "      unprivileged=True, death_signal=signal.SIGUSR1), output=subprocess.DEVNULL)\n"
        "while not (folder / 'state').exists(): pass\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    starter = subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    assert starter.returncode == -signal.SIGKILL
    for _ in range(100):
        if (tmp_path / "said").exists():
            break
        threading.Event().wait(0.05)
    assert (tmp_path / "said").read_text() == "farewell\n"
