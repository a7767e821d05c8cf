"""``manage.py policy_test``: the tests that the policy of tools brings along."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from rich import box
from rich.console import Console
from rich.table import Table

from apps.tools.policy import sources, trials
from apps.tools.policy.failures import PolicyError
from somaagent.commands import PlatformCommand

_PIPE_WIDTH = 160


class Command(PlatformCommand):
    help = "Run the policy's own tests (*_test.rego). Exits 1 unless there are some and all pass."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dir", type=Path, help="Another folder than SA01_POLICY_DIR.")

    def handle(self, *args: Any, **options: Any) -> None:
        directory: Path = options["dir"] or settings.POLICY_DIR
        try:
            read = sources.read(directory)
            tried = list(trials.run(read))
        except PolicyError as error:
            raise CommandError(str(error)) from error
        self._show(tried)
        failed = [trial for trial in tried if trial.problem]
        self.stdout.write(f"{directory}: {read.digest}")
        self.stdout.write(f"{len(tried) - len(failed)} passed, {len(failed)} failed")
        if failed or not tried:
            raise CommandError("The policy's tests did not pass." if failed else "The policy has no tests.")

    def _show(self, tried: list[trials.Trial]) -> None:
        table = Table(box=box.SIMPLE)
        for column in ("file", "test", "outcome"):
            table.add_column(column, overflow="fold")
        for trial in tried:
            style = "red" if trial.problem else "green"
            table.add_row(trial.file, trial.name, trial.problem or "passed", style=style)
        # A pipe has no width of its own; the names must not be broken there.
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        Console(file=self.stdout, highlight=False, markup=False, width=width).print(table)  # type: ignore[arg-type]  # it has write and flush, and no more is used
