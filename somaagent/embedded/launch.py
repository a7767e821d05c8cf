"""Starts processes that end when their starter does, even when it is killed."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from somaagent.embedded import predecessor
from somaagent.embedded.errors import EmbeddedError

LAUNCHER = Path(__file__).with_name("launcher.py")
_SOME_ORDINARY_UID = 1000


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run. ``env`` is its whole environment, not an addition to ours.

    ``unprivileged``: when we are root, it must not believe that it is. ``stop_signal`` asks it to stop;
    ``death_signal`` is what the kernel sends it when its starter has died. ``pid_file``: where to write down
    who was started, for the next start to end it should it still be there.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    unprivileged: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGTERM
    pid_file: Path | None = None


def spawn(command: Command, *, output: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the program in a session of its own, with both its outputs to *output* and no input.

    Call it from the main thread: the kernel sends the death signal when the *thread* ends that spawned.
    Raises ``RuntimeError`` elsewhere, ``OSError`` when the process cannot be made.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("spawn() must be called from the main thread")
    return _start(command, output)


def run(command: Command, *, timeout: float, what: str) -> str:
    """Run the program to its end, from any thread. Gives what it printed.

    Raises ``EmbeddedError`` with the last of its output when it fails or takes longer than *timeout* seconds.
    """
    process = _start(command, subprocess.PIPE)
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as expired:
        raise EmbeddedError(f"{what} took longer than {timeout:.0f} seconds.") from expired
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = output.decode(errors="replace")
    if process.returncode != 0:
        said = "\n".join(text.strip().splitlines()[-15:])
        raise EmbeddedError(f"{what} failed with status {process.returncode}:\n{said}")
    return text


def plain_environment(home: Path) -> dict[str, str]:
    """An environment with nothing of ours in it, for programs that need none."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def _start(command: Command, output: int | IO[bytes]) -> subprocess.Popen[bytes]:
    inner_uid = _ordinary_uid() if command.unprivileged and os.geteuid() == 0 else 0
    facts = (os.getpid(), int(command.death_signal), inner_uid)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(LAUNCHER), *map(str, facts), *command.argv],
        env=dict(command.env),
        cwd=command.cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    if command.pid_file is not None:
        predecessor.record(command.pid_file, process.pid, command.argv, command.stop_signal)
    return process


def _ordinary_uid() -> int:
    """A uid that has a name here: PostgreSQL's ``initdb`` looks its own up."""
    return min((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid), default=_SOME_ORDINARY_UID)
