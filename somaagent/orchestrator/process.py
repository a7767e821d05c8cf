"""One running service: its process, its output, and how it is ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from somaagent.embedded.launch import Command, spawn

from .leftovers import Ledger
from .output import LogFile, OutputPump

KILLED_WITHIN = 5.0


class Process:
    """A service's process and the group of processes that it leads. Make one with ``start``."""

    def __init__(
        self, popen: subprocess.Popen[bytes], command: Command, pump: OutputPump, ledger: Ledger
    ) -> None:
        self.pid = popen.pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._popen = popen
        self._command = command
        self._pump = pump
        self._ledger = ledger
        self._pidfd = os.pidfd_open(popen.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_exit)

    def _on_exit(self) -> None:
        """The first process has ended. Until it is waited for its pid names the group: end the rest first."""
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._signal(signal.SIGKILL)
        status = self._popen.wait()
        self._ledger.remove(self.pid)
        if not self.exited.done():
            self.exited.set_result(status)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return  # nobody is left in the group
        except PermissionError:
            self._popen.send_signal(number)  # a group that has changed its user: its leader is ours

    @property
    def alive(self) -> bool:
        return not self.exited.done()

    def tail(self, lines: int) -> list[str]:
        """The last lines of output; of a process that has ended, all that it said."""
        if not self.alive:
            self._pump.finish()
        return self._pump.tail(lines)

    async def exit_within(self, seconds: float) -> int | None:
        """The exit status, or None when the process still runs after that time."""
        done, _ = await asyncio.wait({self.exited}, timeout=seconds)
        return self.exited.result() if done else None

    async def stop(self, limit: float, hurry: asyncio.Event, *, hurried: float = 2.0) -> bool:
        """Ask the process to stop, and kill its group when it has not after ``limit`` seconds.

        ``hurry`` cuts what is left of the limit to ``hurried`` seconds. True when no kill was needed.
        """
        if not self.alive:
            return True
        self._popen.send_signal(self._command.stop_signal)
        hurrying = asyncio.ensure_future(hurry.wait())
        either: set[asyncio.Future[Any]] = {self.exited, hurrying}
        try:
            await asyncio.wait(either, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if self.alive and hurry.is_set():
                await self.exit_within(min(hurried, limit))
        finally:
            hurrying.cancel()
        if self.exited.done():
            return True
        self._signal(signal.SIGKILL)
        await self.exit_within(KILLED_WITHIN)
        return False


def start(
    service: str,
    command: Command,
    log: LogFile,
    ledger: Ledger,
    *,
    forward: Callable[[str], None] | None,
    consume: Callable[[str], bool] | None,
) -> Process:
    """Start a service's process. Call from the main thread. Raises ``OSError`` when it cannot be started."""
    reading, writing = os.pipe()
    try:
        popen = spawn(command, output=writing)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    pump = OutputPump(service, os.fdopen(reading, "rb"), log, forward=forward, consume=consume)
    ledger.add(service, popen.pid)
    return Process(popen, command, pump, ledger)


def step_back(pid: int, niceness: int) -> None:
    """Leave the processor to others when they want it, for a process that was just started.

    Where the kernel groups processes by session, a process's own niceness counts within its group only, so
    the group gets the same one.
    """
    os.setpriority(os.PRIO_PROCESS, pid, niceness)
    try:
        Path(f"/proc/{pid}/autogroup").write_text(f"{niceness}\n", encoding="ascii")
    except OSError:
        return  # this kernel does not group by session, or has just been asked: a preference, no more


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
