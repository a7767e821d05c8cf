"""The admin's first page asks as often of a large organisation as of a small one, and reads no more than it
shows: rows that are older, or a neighbour's, cost it nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from apps.admin.selectors import dashboard
from apps.admin.usage import usage_page
from apps.admin.usage_form import UsageForm
from apps.chat.models import TurnState
from somaagent.tenancy.models import Tenant
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, organisation
from tests.integration.admin.spending import steps_used, turns_done
from tests.plans import rows_read
from tests.stack import RunningStack

# Rows that are committed: statistics are not made of others, and plans are nothing without them.
pytestmark = pytest.mark.django_db(transaction=True)

MANY = 5_000
FEW = 20
# Of all statements of a page: each reads the few rows of its days, some of them more than once.
MOST_ROWS = 12 * FEW
BIG = ("tenancy_usagerecord", "chat_turn", "agent_sessions_session", "agent_sessions_message")


@pytest.fixture(scope="module")
def houses(
    stack: RunningStack, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[tuple[Organisation, Organisation]]:
    """One without a past, and one with a long one, beside a neighbour who is busy just now."""
    with django_db_blocker.unblock():
        before = list(Tenant.objects.values_list("id", flat=True))
        young, old, busy = (organisation(name) for name in ("young", "old", "busy"))
        now, long_ago = timezone.now(), timezone.now() - timedelta(days=100)
        # The neighbour's rows are first in their tables: whoever reads those from the beginning meets them.
        steps_used(busy.owner, now, MANY)
        turns_done(busy.owner, now, MANY)
        for house in (young, old):
            steps_used(house.owner, now, FEW)
            turns_done(house.owner, now, FEW, state=TurnState.FAILED, error_code="model_unreachable")
        steps_used(old.owner, long_ago, MANY)
        turns_done(old.owner, long_ago, MANY)
        with stack.superuser() as superuser:
            for table in BIG:
                superuser.execute(f"ANALYZE {table}")
        yield young, old
    with stack.superuser() as superuser:
        # Whole tenants go: nothing is left to refer to them.
        superuser.execute("SET session_replication_role = replica")
        for table in BIG:
            superuser.execute(f"DELETE FROM {table} WHERE tenant_id <> ALL(%s)", [before])  # noqa: S608 ours
            superuser.execute(f"VACUUM (ANALYZE) {table}")


def statements_of(page: Any) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        page()
    return [query["sql"] for query in captured]


def first_page() -> None:
    found = dashboard(may=lambda _: True)
    assert found.turns is not None
    assert found.turns.recent.turns == FEW
    assert found.money is not None
    assert found.money.spending.today.now.steps == FEW


def usage() -> None:
    found = usage_page(UsageForm(RequestFactory().get("/?by=user").GET))
    assert found is not None
    assert found.total.steps == FEW


@pytest.mark.parametrize("page", [first_page, usage])
def test_a_long_past_and_a_busy_neighbour_cost_nothing(houses, page):
    young, old = houses
    asked = []
    for house in (young, old):
        with tenant_scope(house.tenant.id):
            statements = statements_of(page)
            asked.append((len(statements), rows_read(statements, BIG)))
    assert asked[0][0] == asked[1][0]
    assert asked[1][1] <= MOST_ROWS, asked
