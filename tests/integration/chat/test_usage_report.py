"""Reports of the ledger: for owners of everybody, for members of themselves; as JSON and for spreadsheets."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from somaagent.tenancy.actor import Actor
from somaagent.tenancy.fields import first_id, uuid7
from somaagent.tenancy.ledger.models import UsageRecord
from somaagent.tenancy.models import Role, User
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, key_of, keyed, organisation, person

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


def used(actor: Actor, moment: datetime, **facts: Any) -> None:
    """A step of the actor's, in the ledger since a moment."""
    given = {"agent": "assistant", "profile": "scripted", "input_tokens": 100, "output_tokens": 10} | facts
    with tenant_scope(actor.tenant_id):
        row = UsageRecord(
            id=first_id(moment), tenant_id=actor.tenant_id, source="turn", run_id=uuid7(), step=1,
            user_id=actor.user_id, **given,
        )  # fmt: skip
        row.created_at = moment
        field = UsageRecord._meta.get_field("created_at")
        field.auto_now_add = False
        try:
            row.save(force_insert=True)
        finally:
            field.auto_now_add = True


def got(actor: Actor, path: str) -> Any:
    host = settings.ALLOWED_HOSTS[0]
    return Client(headers={"host": host, "authorization": f"Bearer {key_of(actor)}"}).get(path)


def items(actor: Actor, query: str) -> list[dict[str, Any]]:
    response = got(actor, f"/api/v1/usage?{query}")
    assert response.status_code == 200, response.content
    return [{name: value for name, value in row.items() if value} for row in response.json()["items"]]


def test_an_owner_sees_who_used_what_in_a_month_and_a_member_what_they_did(acme):
    member = person("member", acme.tenant)
    used(acme.owner, datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC), cost=Decimal("0.5"))
    used(acme.owner, datetime(2026, 11, 1, tzinfo=UTC), cost=Decimal("0.25"))
    used(member, datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC), cost=Decimal("0.000001"), agent="clerk")
    used(member, datetime(2026, 11, 30, 12, tzinfo=UTC), estimated=True, agent="clerk")
    november = "from=2026-11-01&to=2026-11-30"
    [owners, members] = items(acme.owner, f"{november}&by=user&by=month&by=agent")
    assert (owners["month"], owners["agent"], owners["cost"]) == ("2026-11", "assistant", "0.25")
    assert members["user_id"] == str(member.user_id)
    assert (members["steps"], members["steps_without_cost"], members["steps_estimated"]) == (2, 1, 1)
    assert (members["input_tokens"], members["output_tokens"], members["cost"]) == (200, 20, "0.000001")
    with tenant_scope(acme.tenant.id):
        assert members["user"] == User.objects.get(id=member.user_id).username
    [mine] = items(member, november)
    assert (mine["steps"], mine["cost"]) == (2, "0.000001")
    days = items(acme.owner, "from=2026-10-01&to=2026-11-30&by=day")
    assert [day["day"] for day in days] == ["2026-10-31", "2026-11-01", "2026-11-30"]


def test_an_admin_sees_everybody_and_nobody_another_tenant(acme):
    admin, outsider = person("admin", acme.tenant, Role.ADMIN), organisation("other").owner
    used(acme.owner, datetime.now(UTC))
    assert items(admin, "by=profile")[0]["profile"] == "scripted"
    assert items(outsider, "by=profile") == []


def test_the_same_as_csv_without_formulas(acme):
    with tenant_scope(acme.tenant.id):
        User.objects.filter(id=acme.owner.user_id).update(username="=1+1")
    used(acme.owner, datetime.now(UTC), cost=Decimal("0.25"))
    answer = got(acme.owner, "/api/v1/usage.csv?by=user&by=agent")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert "usage.csv" in answer["Content-Disposition"]
    [row] = csv.DictReader(io.StringIO(answer.content.decode()))
    assert (row["user"], row["agent"], row["input_tokens"], row["cost"]) == (
        "'=1+1",
        "assistant",
        "100",
        "0.25",
    )


@pytest.mark.parametrize(
    "query",
    ["from=2026-11-02&to=2026-11-01", "from=2020-01-01&to=2026-01-01", "by=colour", "from=yesterday"],
)
def test_what_cannot_be_told_is_said(acme, query):
    assert got(acme.owner, f"/api/v1/usage?{query}").status_code == 422


@pytest.mark.parametrize(
    "query", ["from=0001-01-01&to=0001-01-02&by=day", "from=9999-12-30&to=9999-12-31&by=user"]
)
def test_days_at_the_ends_of_the_calendar_have_nothing(acme, query):
    assert items(acme.owner, query) == []


def test_what_keys_used_is_told_apart_and_what_came_without_one(acme):
    robot = keyed(acme.owner)
    now = datetime.now(UTC)
    used(acme.owner, now, api_key_id=robot.key_id, cached_tokens=60, reasoning_tokens=4)
    used(acme.owner, now - timedelta(milliseconds=1), input_tokens=7)
    by_key = items(acme.owner, "by=key")
    with_key = next(row for row in by_key if "api_key_id" in row)
    without = next(row for row in by_key if "api_key_id" not in row)
    assert with_key["api_key_id"] == str(robot.key_id)
    assert with_key["api_key"].startswith("test (sa_")
    assert (with_key["input_tokens"], with_key["cached_tokens"]) == (100, 60)
    assert (with_key["output_tokens"], with_key["reasoning_tokens"]) == (10, 4)
    assert without["input_tokens"] == 7
    [row, _] = csv.DictReader(io.StringIO(got(acme.owner, "/api/v1/usage.csv?by=key").content.decode()))
    assert {row["api_key"], row["api_key_id"]} <= {with_key["api_key"], with_key["api_key_id"], ""}
