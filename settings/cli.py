"""The commands of ``manage.py`` that are about the configuration: they run where Django cannot load."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import stamina.instrumentation

from settings.environment import owner_environment
from settings.problems import ConfigurationError, UsageError, describe
from settings.vault_errors import VaultError

_COMMANDS = {
    "check_config": "every setting with its value, source and state, and what is wrong",
    "secret": "set, list and unset secrets in Vault",
    "bootstrap_vault": "make a Vault ready: mounts, policies, logins, generated secrets",
    "rotate_tenant_key": "a new version of the key that tenants' own secrets are sealed under",
}
_MODULES = {"secret": "settings.secret_command"}
_HELP = ("help", "--help", "-h")
# Commands that need the role that owns the tables: the application cannot delete what it may only add to.
_AS_OWNER = (("tenant", "erase"),)
OK, PROBLEMS, COULD_NOT_RUN = 0, 1, 2


def concerns(argv: Sequence[str]) -> bool:
    """Whether the command in *argv* is one of these, or the help of one."""
    if argv and argv[0] == "help":
        return len(argv) > 1 and argv[1] in _COMMANDS
    return bool(argv) and argv[0] in _COMMANDS


def overview() -> str:
    """What ``manage.py help`` says of these commands."""
    lines = [f"    {name:<18} {doc}" for name, doc in _COMMANDS.items()]
    return "\n".join(["[settings] (these work also when the configuration is broken)", *lines, ""])


def asks_for_overview(argv: Sequence[str]) -> bool:
    return not argv or (argv[0] in _HELP and len(argv) == 1)


def become_owner_for(argv: Sequence[str]) -> None:
    """Make this process log in as the owner of the tables, where the command in *argv* needs that."""
    if tuple(argv[:2]) not in _AS_OWNER:
        return
    try:
        found = owner_environment(os.environ)
    except KeyError as error:
        sys.exit(f"This command needs the role that owns the tables, and {error} is not set.")
    os.environ.clear()
    os.environ.update(found)


def main(argv: Sequence[str]) -> int:
    """Runs one of the commands and returns its exit status: 0, 1 (problems) or 2 (could not run)."""
    # Retries of the Vault login would otherwise be told on standard output, among the JSON.
    stamina.instrumentation.set_on_retry_hooks([])
    if argv[0] == "help":
        argv = [argv[1], "--help"]
    name = argv[0]
    # Imported by name: the other commands of manage.py need not wait for what these bring in.
    module = importlib.import_module(_MODULES.get(name, f"settings.{name}"))
    parser = argparse.ArgumentParser(prog=f"manage.py {name}", description=_COMMANDS[name])
    module.add_arguments(parser)
    arguments = parser.parse_args(list(argv[1:]))
    try:
        return int(module.run(arguments, print))
    except ConfigurationError as error:
        _complain(describe(error.problems))
        return PROBLEMS
    except VaultError as error:
        _complain(f"{error.message}\nmend it: {error.mend}")
        return COULD_NOT_RUN
    except (UsageError, OSError) as error:
        _complain(str(error))
        return COULD_NOT_RUN


def _complain(text: str) -> None:
    sys.stderr.write(text + "\n")
