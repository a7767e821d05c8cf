"""Starts the tests' stack before Django reads its settings; its fixtures are in ``tests/conftest.py``."""

from __future__ import annotations

import contextlib

import pytest

from tests.stack import RunningStack, adopt, running_stack

STACK = pytest.StashKey[RunningStack]()
_HELP = {"-h", "--help", "-V", "--version", "--collect-only", "--co", "--markers", "--fixtures"}


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    closing = contextlib.ExitStack()
    early_config.add_cleanup(closing.close)
    running = closing.enter_context(running_stack(migrated=not _HELP & set(args)))
    adopt(running)
    early_config.stash[STACK] = running
