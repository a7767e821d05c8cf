"""Starts the tests' stack before Django reads its settings; its fixtures are in ``tests/conftest.py``.

With ``-n`` each process that runs tests has a stack of its own. The one that hands tests out has one only
where it is given places: pytest has it read their ``conftest.py``.
"""

from __future__ import annotations

import contextlib
import os

import pytest

from tests.stack import MARKER, RunningStack, adopt, forget_settings, running_stack

STACK = pytest.StashKey[RunningStack]()
_HELP = {"-h", "--help", "-V", "--version", "--collect-only", "--co", "--markers", "--fixtures"}


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    known = early_config.known_args_namespace
    hands_out = getattr(known, "numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ
    if hands_out and not known.file_or_dir:
        forget_settings()
        return
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Of the process that hands out: two that share a stack get into each other's way.
        os.environ.pop(MARKER, None)
    closing = contextlib.ExitStack()
    early_config.add_cleanup(closing.close)
    running = closing.enter_context(running_stack(migrated=not _HELP & set(args)))
    adopt(running)
    early_config.stash[STACK] = running
