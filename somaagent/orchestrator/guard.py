"""Ends what the orchestrator leaves behind when it is killed outright.

Each service has a death signal, which the kernel sends it when the orchestrator dies. That reaches the
service's first process only, and a process may take its time over a signal. This program holds the other
end of a pipe: when the pipe closes, it gives the sessions that it was told of a few seconds, then kills what
is left of them. It runs as ``python -I -S guard.py GRACE_SECONDS`` and reads lines ``+ PID START_TICKS`` and
``- PID`` from its stdin. It imports nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

SESSION_FIELD, START_FIELD = 3, 19  # of /proc/PID/stat, counted after the command's name


def stat_fields(pid: int) -> list[str] | None:
    """``/proc/PID/stat`` after the command's name; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since the machine's boot: with the pid, its identity."""
    fields = stat_fields(pid)
    return int(fields[START_FIELD]) if fields else None


def members(session: int, started: int) -> list[int]:
    """Living processes of the session, started no earlier than its leader (a number may be used again)."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        fields = stat_fields(int(entry.name))
        if not fields or fields[0] == "Z":
            continue
        if int(fields[SESSION_FIELD]) == session and int(fields[START_FIELD]) >= started:
            found.append(int(entry.name))
    return found


def ended(sessions: dict[int, int]) -> bool:
    return not any(members(session, started) for session, started in sessions.items())


def kill(sessions: dict[int, int]) -> None:
    """SIGKILL for every process that is left in the sessions."""
    for session, started in sessions.items():
        for pid in members(session, started):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it ended in between


def sweep(sessions: dict[int, int], grace: float) -> None:
    """Wait up to ``grace`` seconds for the sessions to end, then end them."""
    deadline = time.monotonic() + grace
    while not ended(sessions):
        if time.monotonic() > deadline:
            kill(sessions)
            return
        time.sleep(0.1)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: dict[int, int] = {}
    for line in sys.stdin:
        mark, pid, *rest = line.split()
        if mark == "+":
            sessions[int(pid)] = int(rest[0])
        else:
            sessions.pop(int(pid), None)
    sweep(sessions, float(sys.argv[1]))


if __name__ == "__main__":
    main()
