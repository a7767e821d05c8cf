"""The command line: ``run`` (also when no command is named) and ``status``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from . import announce, dry_run, metrics, plan, status
from .configuration import Configuration, private_directory
from .plan import Plan, StackEnvironment, UsageError
from .registry import Refused, RegistryError
from .run import AlreadyRunning, Options, on_terminal, run

PROGRAM = "python -m somaagent.orchestrator"


def parser() -> argparse.ArgumentParser:
    """The arguments of both commands."""
    result = argparse.ArgumentParser(
        prog=PROGRAM, description="Boots SomaAgent's services, watches and stops them."
    )
    commands = result.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="start the services and watch them until a signal comes")
    running.add_argument(
        "--embedded", action="store_true", help="bring OpenBao, PostgreSQL, Valkey and a local model along"
    )
    running.add_argument(
        "--dry-run", action="store_true", help="print the order, run the checks, start nothing"
    )
    running.add_argument("--only", metavar="NAMES", help="supervise only these services, separated by commas")
    asking = commands.add_parser("status", help="what the running orchestrator recorded; 0 when healthy")
    asking.add_argument("--format", choices=("table", "json"), default="table")
    return result


def with_command(arguments: Sequence[str]) -> list[str]:
    """``run`` may be left out."""
    named = next(iter(arguments), "--run")
    asks_for_help = named in {"-h", "--help"}
    return ["run", *arguments] if named.startswith("-") and not asks_for_help else list(arguments)


def main(arguments: Sequence[str], configuration: Configuration) -> int:
    """Exit status: 0 well, 1 not, 2 when the command line is wrong."""
    options = parser().parse_args(with_command(arguments))
    if options.command == "status":
        return status.show(configuration, output_format=options.format, write=sys.stdout.write)
    os.umask(0o077)  # what we and the services write is for its owner alone
    try:
        return _run(options, configuration)
    except UsageError as error:
        return _refuse(error, 2)
    except (AlreadyRunning, RegistryError, Refused) as error:
        return _refuse(error, 1)
    except KeyboardInterrupt:
        return _refuse("Interrupted before anything was started.", 1)


def _refuse(error: Exception | str, exit_status: int) -> int:
    sys.stderr.write(f"{error}\n")
    return exit_status


def _run(options: argparse.Namespace, configuration: Configuration) -> int:
    if options.embedded:
        if options.only is not None:
            raise UsageError(
                "--only is for containers, over infrastructure of their own: not with --embedded."
            )
        return _run_embedded(configuration, only_check=options.dry_run)
    if options.only is not None:
        names = [name.strip() for name in options.only.split(",") if name.strip()]
        what = plan.partial(configuration, names)
    else:
        what = plan.contained(configuration)
    if options.dry_run:
        return dry_run.check(what.registry, sys.stdout.write)
    configuration.load()
    return run(what, configuration, _options(configuration, what, embedded=False))


def _run_embedded(configuration: Configuration, *, only_check: bool) -> int:
    from somaagent.embedded import EmbeddedError, Stack  # noqa: PLC0415 - containers lack the servers' wheels

    try:
        stack = Stack(private_directory(configuration.data_dir))
        environment = StackEnvironment(stack)
        if not only_check:
            stack.lock()
    except EmbeddedError as error:
        raise Refused(str(error)) from error
    environment.take()
    what = plan.embedded(configuration, stack, environment)
    if only_check:
        return dry_run.check(what.registry, sys.stdout.write, assumed=plan.KNOWN_LATER)
    return run(what, configuration, _options(configuration, what, embedded=True))


def _options(configuration: Configuration, what: Plan, *, embedded: bool) -> Options:
    def lines() -> list[str]:
        if what.seeding is None:
            return []
        return announce.lines(str(configuration.plain("SA01_PUBLIC_URL")), what.seeding.credentials)

    return Options(
        mode=str(configuration.plain("SA01_DEPLOYMENT_MODE")),
        announce=lines,
        stays=embedded,
        terminal=on_terminal(),
        log_level=str(configuration.plain("SA01_LOG_LEVEL")),
        observers=lambda: [metrics.observer(configuration.run_dir)],
    )
