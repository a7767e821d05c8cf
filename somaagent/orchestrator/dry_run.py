"""``--dry-run``: everything that can be checked without starting anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from .configuration import PROJECT_ROOT
from .registry import Service, ServiceRegistry

CHECK_SECONDS = 60


def check(
    registry: ServiceRegistry, write: Callable[[str], object], *, assumed: Mapping[str, str] | None = None
) -> int:
    """Print the order, then check the settings and that each command exists. 0 when all is well, else 1.

    ``assumed`` are settings that a start would find out.
    """
    for name, value in (assumed or {}).items():
        os.environ.setdefault(name, value)
    write("Order of start (services without a mutual dependency start side by side):\n")
    for number, service in enumerate(registry, start=1):
        write(f"  {number}. {describe(service)}\n")
    problems = [problem for service in registry for problem in command_problems(service)]
    for problem in problems:
        write(f"problem: {problem}\n")
    settings = check_settings(write)
    write("Nothing was started.\n")
    return 1 if problems or settings else 0


def describe(service: Service) -> str:
    importance = "critical" if service.critical else "not critical"
    after = f", after {', '.join(service.depends_on)}" if service.depends_on else ""
    return f"{service.name} ({service.kind}, {importance}{after})"


def command_problems(service: Service) -> list[str]:
    """What would keep the service's command from running, found without running it."""
    if service.command is None:
        return []
    try:
        command = service.command()
    except Exception as error:  # noqa: BLE001 - whatever the reason, it is one line of the report
        return [f"{service.name}: {error}"]
    program, *arguments = [str(argument) for argument in command.argv]
    directory = Path(command.cwd or Path.cwd())
    problems = []
    if shutil.which(program, path=command.env.get("PATH")) is None:
        problems.append(f"{service.name}: {program} is not there or cannot be run.")
    scripts = [argument for argument in arguments if argument.endswith(".py")]
    problems += [
        f"{service.name}: {script} is not there." for script in scripts if not (directory / script).exists()
    ]
    return problems


def check_settings(write: Callable[[str], object]) -> int:
    """The exit status of ``manage.py check_config --offline``, whose report is passed on."""
    try:
        result = subprocess.run(
            [sys.executable, "manage.py", "check_config", "--offline"],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        write(f"problem: check_config --offline was not done after {CHECK_SECONDS} s.\n")
        return 1
    write(result.stdout + result.stderr)
    return result.returncode
