"""The tests' stack as fixtures.

The database is thrown away with the stack, so pytest-django makes no second one: tests run in the
migrated database, as the application's role. A ``django_db`` test is rolled back. One with
``transaction=True`` commits: its rows stay, as do those of the journeys, and every test makes what it
needs under names of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugin import STACK
from tests.stack import RunningStack


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
