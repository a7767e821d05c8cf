"""``manage.py secret``: set, list and take away. Values are typed or piped, never arguments."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
from collections.abc import Callable, Iterator

from settings.loader import vault_place
from settings.operating import Operating
from settings.problems import UsageError
from settings.registry import REGISTRY, by_name

Say = Callable[[str], None]
_FREE = {"models": "api_key", "mcp": "api_key", "oidc": "client_secret", "database": "password"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    one = actions.add_parser("set", help="set a secret; asks for its value")
    one.add_argument("name", help="SA01_… of a secret, models/NAME, mcp/NAME, oidc/NAME or database/ROLE")
    one.add_argument("--stdin", action="store_true", help="read the value from standard input")
    actions.add_parser("list", help="the names of the secrets and whether each is set")
    gone = actions.add_parser("unset", help="take a secret away")
    gone.add_argument("name")


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Raises ``UsageError``, ``VaultError`` or ``ConfigurationError``."""
    if arguments.action == "list":
        return _list(Operating.log_in(os.environ, extra=("SA01_DB_USER", "SA01_DB_OWNER_USER")), say)
    extra = ("SA01_DB_USER",) if arguments.name == "SA01_DB_PASSWORD" else ()
    operating = Operating.log_in(os.environ, extra=extra)
    path, key = _place(operating, arguments.name)
    where = f"{operating.operator.mount}/{path} {key}"
    if arguments.action == "unset":
        removed = operating.operator.remove(path, key)
        say(f"{where} is gone." if removed else f"{where} was not set.")
        return 0
    operating.operator.put(path, key, _ask(arguments.name, piped=arguments.stdin))
    say(f"{where} is set. Processes that have read it before keep the old value until they start again.")
    return 0


def _place(operating: Operating, name: str) -> tuple[str, str]:
    setting = by_name().get(name)
    if setting and setting.secret:
        return vault_place(operating.configuration, setting)
    folder, _, rest = name.partition("/")
    if folder in _FREE and _NAME.fullmatch(rest):
        return name, _FREE[folder]
    known = ", ".join(each.name for each in REGISTRY if each.secret)
    raise UsageError(
        f"There is no secret {name}. There are {known}, models/NAME, mcp/NAME, oidc/NAME and database/ROLE."
    )


def _ask(name: str, *, piped: bool) -> str:
    if piped:
        value = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    elif sys.stdin.isatty():
        value = getpass.getpass(f"Value of {name}: ")
        if value != getpass.getpass("The same again: "):
            raise UsageError("The two were not the same; nothing was changed.")
    else:
        raise UsageError("Standard input is not a terminal: pipe the value in and say --stdin.")
    if not value or not value.isprintable():
        raise UsageError(
            "The value is empty or holds a character that cannot be printed; nothing was changed."
        )
    return value


def _list(operating: Operating, say: Say) -> int:
    known = by_name()
    for name, path, key in _all(operating):
        # What other settings may do without is not missing.
        optional = name in known and known[name].needed_with is not None
        absent = "optional" if optional else "missing"
        state = "set" if key in operating.operator.keys(path) else absent
        say(f"{name:<32} {operating.operator.mount}/{path} {key}: {state}")
    return 0


def _all(operating: Operating) -> Iterator[tuple[str, str, str]]:
    for setting in REGISTRY:
        if setting.secret:
            yield setting.name, *vault_place(operating.configuration, setting)
    owner = operating.configuration.value("SA01_DB_OWNER_USER")
    yield f"database/{owner}", f"database/{owner}", "password"
    for folder in ("models", "mcp", "oidc"):
        for name in operating.operator.names(folder):
            yield f"{folder}/{name}", f"{folder}/{name}", _FREE[folder]
