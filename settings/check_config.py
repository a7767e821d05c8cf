"""``manage.py check_config``: what every setting is, where it came from, and what is wrong with the whole."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from settings.checks import Check, run_all
from settings.environment import FILE_NAME, PREFIX
from settings.example import env_example, reference
from settings.loader import Configuration, load
from settings.problems import Problem
from settings.registry import Mode

_PIPE_WIDTH = 160
Say = Callable[[str], None]
_COLOURS = {
    "missing": "red",
    "invalid": "red",
    "unknown": "red",
    "unreadable": "red",
    "problem": "red",
    "warning": "yellow",
    "ok": "green",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument(
        "--offline", action="store_true", help="use no network: no Vault, no database, no Valkey"
    )
    parser.add_argument(
        "--env-file", metavar="FILE", help="check this file alone, not the process environment"
    )
    parser.add_argument(
        "--env-example", metavar="MODE", choices=tuple(Mode), help="print the .env.example of a mode"
    )
    parser.add_argument("--reference", action="store_true", help="print the table of docs/configuration.md")


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Exit status 0, or 1 if there are problems. Raises ``OSError`` if the file cannot be read."""
    if arguments.env_example:
        say(env_example(Mode(arguments.env_example)).rstrip("\n"))
        return 0
    if arguments.reference:
        say(reference().rstrip("\n"))
        return 0
    if arguments.env_file:
        _look_only_at(arguments.env_file)
    configuration = load(os.environ, online=not arguments.offline)
    checks = run_all(configuration, online=not arguments.offline)
    problems = configuration.problems + [check.problem for check in checks if check.problem]
    if arguments.format == "json":
        say(json.dumps(as_json(configuration, checks, problems), indent=2, ensure_ascii=False))
    else:
        _print(configuration, checks, problems)
    return 1 if problems else 0


def _look_only_at(path: str) -> None:
    with open(path, encoding="utf-8"):
        pass  # a file that cannot be read is a command that could not run, not a problem of the configuration
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        del os.environ[name]
    os.environ[FILE_NAME] = path


def as_json(c: Configuration, checks: list[Check], problems: list[Problem]) -> Mapping[str, Any]:
    """The document of ``--format json``; it holds no secret."""
    return {
        "ok": not problems,
        "mode": c.mode or None,
        "settings": [
            {"name": row.name, "value": row.shown or None, "source": row.source, "state": row.state}
            for row in c.rows
        ],
        "checks": [{"name": check.name, "state": check.state, "detail": check.detail} for check in checks],
        "problems": [problem.as_json() for problem in problems],
    }


def _print(c: Configuration, checks: list[Check], problems: list[Problem]) -> None:
    # A pipe has no width of its own; the names must not be broken there.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    console = Console(file=sys.stdout, highlight=False, markup=False, width=width)
    settings = _table("Settings", "name", "value", "source", "state")
    for row in c.rows:
        settings.add_row(row.name, row.shown, row.source, row.state.value, style=_COLOURS.get(row.state))
    console.print(settings)
    ran = _table("Checks", "check", "state", "detail")
    for check in checks:
        ran.add_row(check.name, check.state, check.detail, style=_COLOURS.get(check.state))
    console.print(ran)
    for number, problem in enumerate(problems, start=1):
        console.print(f"{number:>3}. {problem.setting}: {problem.message}", style="red", soft_wrap=True)
        console.print(f"     looked in: {problem.source}", soft_wrap=True)
        console.print(f"     mend it:   {problem.mend}", soft_wrap=True)
    console.print(f"{len(problems)} problems." if problems else "The configuration is sound.", style="bold")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
