"""``run``: from a plan to a clean end, with signals on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import filelock

import somaagent
from somaagent.observability import health
from somaagent.observability import logging as service_logging

from .configuration import Configuration, private_directory
from .leftovers import GRACE_SECONDS, Ledger, end_leftovers
from .lifecycle import TICK_SECONDS, BootFailed, Observer, Surroundings
from .output import Forwarder, LogFile, LogStream
from .plan import Plan
from .report import Journal, LogReporter, Reporter, TerminalReporter
from .supervisor import Supervisor

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LOCK_NAME = "orchestrator.lock"


class AlreadyRunning(Exception):  # noqa: N818 - a state, told as such
    """Another orchestrator runs on the same data directory."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a plan is run.

    ``announce`` gives the lines for a person once all is up, ``mode`` is for the record, ``observers`` is
    asked once the data directory is ours. ``stays`` says what a critical service in a crash loop means: stay
    up and say unhealthy, so that a person can look, or end with status 1, so that a container is replaced.
    ``grace``: seconds that what an orchestrator left behind is given to end by itself.
    """

    mode: str
    announce: Callable[[], Sequence[str]]
    stays: bool
    terminal: bool
    log_level: str
    tick: float = TICK_SECONDS
    grace: float = GRACE_SECONDS
    observers: Callable[[], Sequence[Observer]] = tuple


def run(plan: Plan, configuration: Configuration, options: Options) -> int:
    """Exit status: 0 after a stop that was asked for, 1 when the boot failed or a critical service is lost.

    Raises ``AlreadyRunning``.
    """
    run_dir = private_directory(configuration.run_dir)
    private_directory(configuration.log_dir)
    with hold(run_dir):
        health.forget(run_dir)
        log = LogFile(configuration.log_dir, "orchestrator")
        reporter = reporter_for(options, log)
        found = end_leftovers(run_dir, options.grace)
        if found:
            reporter.say("ended processes that an earlier start had left", pids=found)
        return asyncio.run(_Run(plan, configuration, options, reporter, log).main())


def hold(run_dir: Path) -> AbstractContextManager[object]:
    """A lock on the run directory; the kernel lets it go with the process."""
    try:
        return filelock.FileLock(run_dir / LOCK_NAME, mode=0o600).acquire(timeout=0)
    except filelock.Timeout as error:
        raise AlreadyRunning(f"Another orchestrator is running on {run_dir.parent}.") from error


def reporter_for(options: Options, log: LogFile) -> Reporter:
    """A table for a person, JSON lines for anybody else. What libraries log never gets into the table."""
    if options.terminal:
        service_logging.configure("orchestrator", options.log_level, stream=cast("TextIO", LogStream(log)))
        return TerminalReporter()
    service_logging.configure("orchestrator", options.log_level)
    return LogReporter()


class _Run:
    """One run, on the loop of the main thread: children must be started from there."""

    def __init__(
        self, plan: Plan, configuration: Configuration, options: Options, reporter: Reporter, log: LogFile
    ) -> None:
        self._configuration = configuration
        self._options = options
        self._reporter = reporter
        self._asked = asyncio.Event()
        self._reason = ""
        self._began = time.monotonic()
        self._ledger = Ledger(configuration.run_dir, options.grace)
        self._supervisor = Supervisor(
            plan.registry,
            Surroundings(
                logs=configuration.log_dir,
                ledger=self._ledger,
                forward=None if options.terminal else Forwarder().write,
                tick=options.tick,
            ),
            run_dir=configuration.run_dir,
            mode=options.mode,
            version=somaagent.__version__,
            observers=(
                Journal(log),
                reporter,
                *options.observers(),
            ),
        )

    async def main(self) -> int:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # started by nohup: the end of the terminal is not to stop it
            loop.add_signal_handler(number, self._on_signal, number)
        self._ledger.start_guard()
        try:
            return await self._boot_and_watch()
        finally:
            await self._stop()
            self._ledger.close()

    def _on_signal(self, number: signal.Signals) -> None:
        if self._asked.is_set():
            self._supervisor.hurry.set()
        self._reason = self._reason or number.name
        self._asked.set()

    async def _boot_and_watch(self) -> int:
        self._reporter.starting(tuple(self._supervisor.units.values()))
        try:
            if not await self._unless_asked(self._supervisor.boot()):
                return 0
        except BootFailed as failure:
            self._reporter.failed(failure)
            self._reason = "the boot failed"
            return 1
        self._reporter.ready(time.monotonic() - self._began, self._options.announce())
        if self._supervisor.finished:
            self._reason = "everything is done"
            return 0
        if not await self._unless_asked(self._supervisor.watch()):
            return 0
        if self._options.stays:
            await self._asked.wait()
            return 0
        self._reason = "a critical service was given up"
        return 1

    async def _unless_asked(self, work: Coroutine[Any, Any, None]) -> bool:
        """False when a signal came before the work was done."""
        task, asked = asyncio.create_task(work), asyncio.create_task(self._asked.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
                return True
            return False
        finally:
            asked.cancel()
            task.cancel()

    async def _stop(self) -> None:
        began = time.monotonic()
        self._reporter.stopping(self._reason or "an error of the orchestrator's own")
        await self._supervisor.stop()
        self._reporter.stopped(time.monotonic() - began)


def on_terminal() -> bool:
    """Whether a person looks on."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}
