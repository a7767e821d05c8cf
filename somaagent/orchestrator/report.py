"""What a boot shows: a live table in a terminal, one JSON line for each change of state anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import structlog
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from somaagent.observability.health import State

from .lifecycle import BootFailed
from .output import LogFile, json_line
from .units import Unit

COLOURS = {State.UP: "green", State.DONE: "green", State.FAILED: "red", State.DOWN: "red"}
TROUBLE = frozenset({State.DOWN, State.RESTARTING, State.FAILED})
NOTE_WIDTH = 70
QUIET_SECONDS = 10.0  # before that it is no news that a starting service does not answer


class Reporter(Protocol):
    """Tells a person or a log collector what happens. It is also an observer of the services."""

    def changed(self, unit: Unit) -> None: ...

    def checked(self, unit: Unit, seconds: float) -> None: ...

    def starting(self, units: Sequence[Unit]) -> None: ...

    def ready(self, seconds: float, lines: Sequence[str]) -> None: ...

    def failed(self, failure: BootFailed) -> None: ...

    def stopping(self, reason: str) -> None: ...

    def stopped(self, seconds: float) -> None: ...

    def say(self, event: str, **facts: Any) -> None: ...


def facts_of(unit: Unit) -> dict[str, Any]:
    """A change of state as the facts of a log line."""
    facts: dict[str, Any] = {"name": unit.name, "state": unit.state.value, "restarts": unit.restarts}
    if unit.note:
        facts["note"] = unit.note
    if unit.last_error and unit.state in TROUBLE:
        facts["error"] = unit.last_error
    return facts


def unfinished(units: Sequence[Unit]) -> list[str]:
    """The names of services that are not up yet."""
    return [unit.name for unit in units if not unit.good]


class Journal:
    """An observer that keeps every change in ``logs/orchestrator.log``, whatever else is shown."""

    def __init__(self, log: LogFile) -> None:
        self._log = log

    def changed(self, unit: Unit) -> None:
        self._log.write(json_line("orchestrator", "service", **facts_of(unit)))

    def checked(self, unit: Unit, seconds: float) -> None:
        """Single checks are for the metrics, not for the log."""


class LogReporter:
    """JSON lines on stdout, for containers and for output that is kept."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("somaagent.orchestrator")
        self._units: Sequence[Unit] = ()
        self._gone = False

    def say(self, event: str, **facts: Any) -> None:
        if self._gone:
            return
        try:
            self._log.info(event, **facts)
        except OSError:
            self._gone = True  # nobody reads our stdout any more; the services go on

    def changed(self, unit: Unit) -> None:
        self.say("service", **facts_of(unit))

    def checked(self, unit: Unit, seconds: float) -> None:
        """Single checks are for the metrics, not for the log."""

    def starting(self, units: Sequence[Unit]) -> None:
        self._units = units
        self.say("starting", services=[unit.name for unit in units])

    def ready(self, seconds: float, lines: Sequence[str]) -> None:
        self.say("ready", seconds=round(seconds, 1), still_starting=unfinished(self._units))
        self._plain(lines)

    def failed(self, failure: BootFailed) -> None:
        self.say("boot failed", name=failure.service, error=failure.reason, last_lines=failure.tail)
        self._plain(failure_lines(failure), stream=sys.stderr)

    def stopping(self, reason: str) -> None:
        self.say("stopping", reason=reason)

    def stopped(self, seconds: float) -> None:
        self.say("stopped", seconds=round(seconds, 1))

    def _plain(self, lines: Iterable[str], stream: Any = None) -> None:
        try:
            print(*lines, sep="\n", file=stream or sys.stdout, flush=True)
        except OSError:
            self._gone = True


class TerminalReporter:
    """A table that lives until everything is up; then a line for each change."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._units: Sequence[Unit] = ()
        self._live: Live | None = None
        self._said: dict[str, State] = {}
        self._gone = False

    def starting(self, units: Sequence[Unit]) -> None:
        self._units = units
        self._live = Live(
            get_renderable=self._table, console=self._console, refresh_per_second=5, redirect_stdout=False
        )
        self._live.start()

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("service")
        table.add_column("state", min_width=10)
        table.add_column("seconds", justify="right")
        table.add_column("note", max_width=NOTE_WIDTH, overflow="ellipsis", no_wrap=True)
        for unit in self._units:
            style = COLOURS.get(unit.state, "dim" if unit.state is State.WAITING else "yellow")
            seconds = "" if unit.state is State.WAITING else f"{unit.boot_seconds:.1f}"
            early = unit.state is State.STARTING and unit.boot_seconds < QUIET_SECONDS
            note = Text("" if early else unit.note)
            table.add_row(unit.name, Text(unit.state.value, style=style), seconds, note)
        return table

    def _end_table(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def say(self, event: str, **facts: Any) -> None:
        self._print(" ".join([event, *(f"{name}={value}" for name, value in facts.items())]))

    def changed(self, unit: Unit) -> None:
        if self._live is not None or self._said.get(unit.name) is unit.state:
            return
        self._said[unit.name] = unit.state
        why = unit.last_error if unit.state in TROUBLE else unit.note
        self._print(f"{unit.name}: {unit.state.value}" + (f" ({why})" if why else ""))

    def checked(self, unit: Unit, seconds: float) -> None:
        """Shown by the table, when it changes anything."""

    def ready(self, seconds: float, lines: Sequence[str]) -> None:
        self._said = {unit.name: unit.state for unit in self._units}
        self._end_table()
        rest = ", ".join(unfinished(self._units))
        self._print(f"\nReady after {seconds:.1f} s." + (f" Still starting: {rest}." if rest else ""))
        for line in lines:
            self._print(line)

    def failed(self, failure: BootFailed) -> None:
        self._end_table()
        self._print("")
        for line in failure_lines(failure):
            self._print(line)

    def stopping(self, reason: str) -> None:
        self._end_table()
        self._print(f"\nStopping: {reason}. Once more to hurry.")

    def stopped(self, seconds: float) -> None:
        self._print(f"Stopped after {seconds:.1f} s.")

    def _print(self, line: str) -> None:
        if self._gone:
            return
        try:
            self._console.print(
                Text(line), soft_wrap=True
            )  # as it is: no markup, and lines that can be pasted
        except OSError:
            self._gone = True  # the terminal has closed; the services stop in their own time


def failure_lines(failure: BootFailed) -> list[str]:
    """Why a boot ended, for a person."""
    lines = [f"{failure.service} could not be started: {failure.reason}"]
    if failure.tail:
        lines += [f"The last that {failure.service} said:", *(f"  {line}" for line in failure.tail)]
    return lines
