"""Starts the tests' stack before Django reads its settings; its fixtures are in ``tests/conftest.py``.

It also puts the files that take longest first.

With ``-n`` each process that runs tests has a stack of its own. The one that hands tests out has one only
where it is given places: pytest has it read their ``conftest.py``.
"""

from __future__ import annotations

import contextlib
import gc
import os

import pytest

from tests.stack import MARKER, RunningStack, adopt, forget_settings, running_stack

STACK = pytest.StashKey[RunningStack]()
# The slowest first (``make test ARGS=--durations=0`` tells): with ``--no-loadscope-reorder`` files begin in
# this order, so that what begins last is short and no process runs on alone.
LONG = (
    "tests/journeys/test_first_minutes.py",
    "tests/chaos/test_chaos.py",
    "tests/journeys/test_openapi.py",
    "tests/load/test_load.py",
    "tests/integration/orchestrator/test_command_line.py",
    "tests/integration/portable/test_moving.py",
    "tests/journeys/test_second_factor.py",
    "tests/journeys/test_mcp_server.py",
    "tests/integration/observability/test_celery.py",
    "tests/journeys/test_mcp_at_boot.py",
    "tests/journeys/test_admin.py",
    "tests/integration/embedded/test_crashes.py",
    "tests/journeys/test_openai_responses_elsewhere.py",
    "tests/journeys/test_page_local_model.py",
    "tests/integration/outbox/test_outbox.py",
    "tests/integration/mcp/test_programs.py",
    "tests/journeys/test_page_survives.py",
    "tests/journeys/test_page.py",
    "tests/journeys/test_page_branches.py",
    "tests/journeys/test_page_approvals.py",
    "tests/journeys/test_signing_in.py",
    "tests/integration/observability/test_gateway_server.py",
    "tests/integration/observability/test_gateway_connections.py",
    "tests/integration/chat/test_growth.py",
    "tests/integration/admin/test_lists.py",
    "tests/integration/orchestrator/test_supervision.py",
    "tests/unit/settings/test_commands.py",
)
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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {path: number for number, path in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(LONG)))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    # Modules and tests stay until the end: the collector need not look through them again and again.
    gc.collect()
    gc.freeze()
