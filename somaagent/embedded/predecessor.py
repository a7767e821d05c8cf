"""Servers that an earlier start left behind: found again by what was written down, and ended.

A pid alone is no proof, since numbers are used again: start time and command line must be as recorded.
"""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from somaagent.embedded.errors import EmbeddedError
from somaagent.embedded.files import write_private

log = logging.getLogger(__name__)

_SUFFIX = ".pid"
_CLOCK_SLACK_SECONDS = 2.0
_GRACE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Record:
    """Who was started. ``started`` is in seconds since the epoch, ``stop_signal`` a number."""

    pid: int
    started: float
    stop_signal: int
    argv: list[str]

    def process(self) -> psutil.Process | None:
        """The process, if it is still there and still the same."""
        try:
            process = psutil.Process(self.pid)
            same = (
                abs(process.create_time() - self.started) < _CLOCK_SLACK_SECONDS
                and process.status() != psutil.STATUS_ZOMBIE
                # While it is being launched, the launcher stands before its own arguments.
                and process.cmdline()[-len(self.argv) :] == self.argv
            )
        except psutil.NoSuchProcess:
            return None
        return process if same else None


def record(pid_file: Path, pid: int, argv: Sequence[str], stop_signal: int) -> None:
    """Write down the process *pid*, a child of ours that has not been waited for."""
    facts = Record(pid, psutil.Process(pid).create_time(), int(stop_signal), list(argv))
    write_private(pid_file, json.dumps(asdict(facts)))


def end_all(folder: Path) -> list[int]:
    """End every process that a record in *folder* names, with its children. Gives the pids that were there.

    Raises ``EmbeddedError`` when one cannot be ended.
    """
    files = sorted(folder.glob(f"*{_SUFFIX}"))
    records = [record for record in map(_read, files) if record]
    found = {process: record for record in records if (process := record.process())}
    family = [member for process in found for member in _with_children(process)]
    for process, known in found.items():
        log.warning("ending what an earlier start left: %s (pid %s)", known.argv[0], known.pid)
        _signal(process, known.stop_signal)
    _await_end(family)
    for file in files:
        file.unlink(missing_ok=True)
    return [process.pid for process in found]


def _read(file: Path) -> Record | None:
    try:
        return Record(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        log.warning("%s is not a record of a process and is left out of account", file)
        return None


def _with_children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        log.debug("pid %s has ended by itself", process.pid)


def _await_end(family: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(family, timeout=_GRACE_SECONDS)
    for survivor in alive:
        _signal(survivor, signal.SIGKILL)
    _, alive = psutil.wait_procs(alive, timeout=_GRACE_SECONDS)
    if alive:
        pids = ", ".join(str(survivor.pid) for survivor in alive)
        raise EmbeddedError(
            f"Processes of an earlier start cannot be ended: {pids}. End them, then start again."
        )
