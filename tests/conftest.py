"""The tests' stack as fixtures.

The database is thrown away with the stack, so pytest-django makes no second one: tests run in the
migrated database, as the application's role. A ``django_db`` test is rolled back. One with
``transaction=True`` commits: its rows stay, as do those of the journeys, and every test makes what it
needs under names of its own. One that needs empty tables asks for ``clean_tables``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import sql

from tests.plugin import STACK
from tests.stack import RunningStack

# What migrations put there.
_KEPT = ("django_migrations", "django_content_type", "auth_permission")


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> RunningStack:
    """The stack that this run has: its data directory, its environment, its superuser."""
    return pytestconfig.stash[STACK]


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None) -> Iterator[None]:
    """pytest-django's, replaced: there is a database already."""
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
