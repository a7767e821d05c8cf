"""Starts the tests' stack before Django reads its settings, and hands its database to pytest-django.

The database is thrown away with the stack, so no second one is made: tests run in the migrated one, as the
application's role. A ``django_db`` test is rolled back. A test with ``transaction=True`` commits: its rows
stay, as do those of the journeys, and every test makes what it needs under names of its own. One that needs
empty tables asks for ``clean_tables``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from psycopg import sql

from tests.stack import RunningStack, adopt, running_stack

# What migrations put there.
_KEPT = ("django_migrations", "django_content_type", "auth_permission")
_stack = pytest.StashKey[RunningStack]()
_HELP = {"-h", "--help", "-V", "--version", "--collect-only", "--co", "--markers", "--fixtures"}


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    closing = contextlib.ExitStack()
    early_config.add_cleanup(closing.close)
    running = closing.enter_context(running_stack(migrated=not _HELP & set(args)))
    adopt(running)
    early_config.stash[_stack] = running


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> RunningStack:
    """The stack that this run has: its data directory, its environment, its superuser."""
    return pytestconfig.stash[_stack]


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None) -> Iterator[None]:
    """pytest-django's, replaced: the migrated database is the tests' database."""
    from django.test import TransactionTestCase  # noqa: PLC0415 - Django is not configured before

    with pytest.MonkeyPatch.context() as patch:
        # It would truncate tables, which the application's role does not own and must not be able to.
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda self: None)
        yield


@pytest.fixture
def clean_tables(stack: RunningStack, transactional_db: None) -> Iterator[None]:
    """Empty tables before and after a test that commits, those of the tenants too."""
    empty_tables(stack)
    yield
    empty_tables(stack)


def empty_tables(stack: RunningStack) -> None:
    with stack.superuser() as connection:
        found = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL(%s)",
            [list(_KEPT)],
        ).fetchall()
        names = sql.SQL(", ").join(sql.Identifier(name) for (name,) in found)
        if found:
            connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(names))
