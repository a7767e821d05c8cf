"""Which processes we started: written down, so that the next start can end what an earlier one left.

A pid alone is no proof, numbers are used again. A process is ours when its pid, its start time and the
machine's boot are the recorded ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from . import guard

FILE_NAME = "pids.json"
GRACE_SECONDS = 5.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Ledger:
    """The processes that run now: kept in ``RUN_DIR/pids.json``, and told to a guard that outlives us.

    ``grace``: how many seconds the guard gives to what it ends.
    """

    def __init__(self, run_dir: Path, grace: float = GRACE_SECONDS) -> None:
        self._path = run_dir / FILE_NAME
        self._grace = grace
        self._processes: dict[int, tuple[str, int]] = {}
        self._guard: subprocess.Popen[str] | None = None

    def start_guard(self) -> None:
        """Start the guard; call from the main thread, before the first service."""
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(self._grace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
            bufsize=1,
        )

    def add(self, service: str, pid: int) -> None:
        ticks = guard.start_ticks(pid)
        if ticks is None:
            return  # it has ended already; its exit is noticed elsewhere
        self._processes[pid] = (service, ticks)
        self._tell(f"+ {pid} {ticks}\n")
        self._write()

    def remove(self, pid: int) -> None:
        if self._processes.pop(pid, None):
            self._tell(f"- {pid}\n")
            self._write()

    def close(self) -> None:
        """Let the guard go. Nothing runs any more."""
        if self._guard and self._guard.stdin:
            self._guard.stdin.close()
            try:
                self._guard.wait(self._grace + 5)
            except subprocess.TimeoutExpired:
                return  # something cannot be killed; the record of it stays for the next start
        self._path.unlink(missing_ok=True)

    def _tell(self, line: str) -> None:
        if self._guard is None or self._guard.stdin is None:
            return
        try:
            self._guard.stdin.write(line)
        except BrokenPipeError:  # somebody killed the guard: the death signals remain
            self._guard = None

    def _write(self) -> None:
        content = {
            "boot": boot_id(),
            "processes": [
                {"service": service, "pid": pid, "started": ticks}
                for pid, (service, ticks) in self._processes.items()
            ],
        }
        temporary = self._path.with_suffix(".new")
        try:
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(content), encoding="utf-8")
            temporary.replace(self._path)
        except OSError:
            return  # a full disk, say: death signals and the guard do without the file


def boot_id() -> str:
    """What names this boot of the machine: start times count from it."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""  # not told (some sandboxes): pid and start time must do


def recorded(run_dir: Path) -> dict[int, int]:
    """Sessions of an earlier start in this boot, as {pid: start time}; empty without a readable record."""
    try:
        content = json.loads((run_dir / FILE_NAME).read_text(encoding="utf-8"))
        if content["boot"] != boot_id():
            return {}
        return {int(process["pid"]): int(process["started"]) for process in content["processes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def end_leftovers(run_dir: Path, grace: float = GRACE_SECONDS) -> list[int]:
    """End what an earlier orchestrator left, by pid. The pids that were found, for the log."""
    sessions = recorded(run_dir)
    found = sorted(pid for session, started in sessions.items() for pid in guard.members(session, started))
    if found:
        guard.sweep(sessions, grace)
    (run_dir / FILE_NAME).unlink(missing_ok=True)
    return [pid for pid in found if pid != os.getpid()]
