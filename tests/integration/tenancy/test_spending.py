"""Figures of the ledger: what a day and a month used up to now, beside those before; who spends most."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from somaagent.tenancy.ledger.figures import Used, spending, top_agents, top_users
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, organisation, person, user_of
from tests.integration.admin.spending import steps_used

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def spent(acme: Organisation, now: str, days: int = 30):
    with tenant_scope(acme.tenant.id):
        return spending(now=at(now), days=days)


def test_today_is_held_against_yesterday_up_to_the_same_time(acme):
    for moment, cost in (
        ("2026-11-20T23:59:59", "64"),
        ("2026-11-21T00:00:00", "1"),
        ("2026-11-21T10:30:00", "2"),
        ("2026-11-21T10:30:01", "4"),
        ("2026-11-22T00:00:00", "8"),
        ("2026-11-22T10:29:00", "16"),
    ):
        steps_used(acme.owner, at(moment), cost=Decimal(cost))
    today = spent(acme, "2026-11-22T10:30:00").today
    assert (today.now.cost, today.before.cost) == (Decimal(24), Decimal(3))
    assert (today.now.steps, today.now.tokens) == (2, 220)


def test_this_month_is_held_against_the_last_up_to_the_same_moment(acme):
    for moment, cost in (
        ("2026-09-30T23:59:59", "32"),
        ("2026-10-01T00:00:00", "1"),
        ("2026-10-22T10:00:00", "2"),
        ("2026-10-22T11:00:00", "4"),
        ("2026-11-01T00:00:00", "8"),
        ("2026-11-22T10:00:00", "16"),
    ):
        steps_used(acme.owner, at(moment), cost=Decimal(cost))
    month = spent(acme, "2026-11-22T10:30:00").month
    assert (month.now.cost, month.before.cost) == (Decimal(24), Decimal(3))


def test_a_day_that_the_last_month_did_not_have_is_held_against_all_of_it(acme):
    steps_used(acme.owner, at("2026-09-30T23:00:00"), cost=Decimal(3))
    steps_used(acme.owner, at("2026-10-31T01:00:00"), cost=Decimal(5))
    month = spent(acme, "2026-10-31T02:00:00").month
    assert (month.now.cost, month.before.cost) == (Decimal(5), Decimal(3))


def test_each_day_is_there_those_without_use_too(acme):
    steps_used(acme.owner, at("2026-11-20T12:00:00"), 2, cached_tokens=40, reasoning_tokens=4)
    steps_used(acme.owner, at("2026-11-22T12:00:00"), cost=Decimal("0.5"))
    days = spent(acme, "2026-11-22T23:00:00", days=4).days
    assert [day for day, _ in days] == [date(2026, 11, day) for day in (19, 20, 21, 22)]
    assert days[1][1] == Used(2, 2, 200, 80, 20, 8, Decimal(0))
    assert days[2][1] == Used()
    assert (days[3][1].unpriced, days[3][1].cost) == (0, Decimal("0.5"))


def test_nothing_of_another_tenant_is_counted(acme):
    other = organisation("other")
    steps_used(other.owner, at("2026-11-22T12:00:00"), cost=Decimal(1))
    found = spent(acme, "2026-11-22T23:00:00")
    assert (found.today.now, found.month.now) == (Used(), Used())
    with tenant_scope(acme.tenant.id):
        assert top_users(since=date(2026, 11, 1), until=date(2026, 11, 22), most=5) == []


def test_those_who_spend_most_come_first_then_those_with_most_tokens(acme):
    dear, busy, quiet = (person(name, acme.tenant) for name in ("dear", "busy", "quiet"))
    when = at("2026-11-22T12:00:00")
    steps_used(busy, when, 9, agent="clerk")
    steps_used(dear, when, cost=Decimal("0.01"), agent="sage")
    steps_used(quiet, when, agent="")
    with tenant_scope(acme.tenant.id):
        days = {"since": date(2026, 11, 1), "until": date(2026, 11, 22)}
        users, agents = top_users(**days, most=2), top_agents(**days, most=5)
    assert [one.key for one in users] == [dear.user_id, busy.user_id]
    assert users[0].name == user_of(dear).username
    assert [(one.key, one.used.steps) for one in agents] == [("sage", 1), ("clerk", 9)]
