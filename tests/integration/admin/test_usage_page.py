"""The admin's page of usage: which days, for each what, as charts, as tables and as CSV."""

from __future__ import annotations

import csv
import html
import io
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from apps.admin.usage import MOST_ROWS
from somaagent.tenancy.ledger import selectors
from somaagent.tenancy.models import Role, User
from tests.factories import Organisation, keyed, operator_client, organisation, person, user_of
from tests.integration.admin.spending import agents_used, steps_used

pytestmark = pytest.mark.django_db
NOVEMBER = {"from": "2026-11-01", "to": "2026-11-30"}


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


@pytest.fixture
def operator(acme: Organisation) -> Client:
    return operator_client(acme.owner)


@pytest.fixture
def november(acme: Organisation) -> None:
    """Two people, two agents, a key: in November, and one step in October."""
    robot = keyed(acme.owner)
    ada = person("ada", acme.tenant)
    steps_used(acme.owner, at(10, 31), cost=Decimal(64))
    steps_used(acme.owner, at(11, 2), 2, cost=Decimal("0.25"), cached_tokens=60, reasoning_tokens=4)
    steps_used(
        acme.owner, at(11, 3), cost=Decimal("1.5"), profile="dear", agent="clerk", api_key_id=robot.key_id
    )
    steps_used(ada, at(11, 30), estimated=True)


def at(month: int, day: int) -> datetime:
    return datetime(2026, month, day, 12, tzinfo=UTC)


def opened(operator: Client, **query: Any) -> str:
    answer = operator.get("/admin/usage/", query)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def table(page: str, name: str) -> list[list[str]]:
    """The cells of a table's rows."""
    _, _, after = page.partition(f'id="{name}">')
    body = after.partition("<tbody>")[2].partition("</tbody>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in rows
    ]


def test_a_months_days_are_shown_newest_first_with_charts_and_sums(november, operator):
    page = opened(operator, **NOVEMBER)
    assert table(page, "usage") == [
        ["2026-11-30", "1", "100", "0", "10", "0", "not known"],
        ["2026-11-03", "1", "100", "0", "10", "0", "1.50"],
        ["2026-11-02", "2", "200", "120", "20", "8", "0.50"],
    ]
    assert 'title="2.000000000000">2.00</dd>' in page
    assert "The cost of 1 step is not known" in page
    assert "1 step was cut short: its tokens are a guess." in page
    assert page.count('class="soma-column"') == 2 * 30
    assert "Tokens, 1 Nov to 30 Nov: 440 in all, most 2 Nov (220)." in page
    for kind in ("Input", "Cached input", "Output", "Reasoning"):
        assert f"{kind} <strong>" in page


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("agent", [["clerk", "1.50"], ["assistant", "0.50"]]),
        ("profile", [["dear", "1.50"], ["scripted", "0.50"]]),
    ],
)
def test_by_agent_or_profile_those_that_cost_most_come_first(november, operator, by, rows):
    page = opened(operator, **NOVEMBER, by=by)
    assert [[row[0], row[-1]] for row in table(page, "groups")] == rows
    assert table(page, "usage")[0][0] == "2026-11-30"
    assert f"{rows[0][0]} <strong>1.50</strong>" in page


def test_by_user_and_by_key_they_have_names(acme, november, operator):
    users = table(opened(operator, **NOVEMBER, by="user"), "groups")
    assert users[0][0] == user_of(acme.owner).username
    assert users[1][0].startswith("ada-")
    keys = table(opened(operator, **NOVEMBER, by="key"), "groups")
    assert keys[0][0].startswith("test (sa_")
    assert [row[0] for row in keys[1:]] == ["Without a key"]


def test_by_month_over_a_year(november, operator):
    page = opened(operator, **{"from": "2026-01-01", "to": "2026-11-30", "each": "month"})
    assert [row[0] for row in table(page, "usage")] == ["2026-11", "2026-10"]
    assert page.count('class="soma-column"') == 2 * 11


def test_many_groups_are_drawn_as_the_first_five_and_all_others(acme, operator):
    for number in range(7):
        steps_used(acme.owner, at(11, 2), agent=f"agent-{number}", cost=Decimal(number + 1))
    page = opened(operator, **NOVEMBER, by="agent")
    assert [row[0] for row in table(page, "groups")] == [f"agent-{number}" for number in range(6, -1, -1)]
    assert "All others <strong>3.00</strong>" in page
    assert "agent-1 <strong>" not in page


def test_of_more_rows_than_a_page_holds_the_newest_are_shown_and_the_csv_has_all(acme, operator):
    agents_used(acme.owner, at(11, 2), MOST_ROWS + 1)
    page = opened(operator, **NOVEMBER, by="agent")
    assert len(table(page, "usage")) == MOST_ROWS
    assert f"The newest {MOST_ROWS} of {MOST_ROWS + 1} rows are shown; the CSV has all." in page
    [address] = re.findall(r'href="([^"]+usage\.csv[^"]*)"', page)
    assert len(list(csv.reader(io.StringIO(operator.get(address).content.decode())))) == MOST_ROWS + 2


def test_the_csv_is_of_the_same_days_and_groups(november, operator):
    page = opened(operator, **NOVEMBER, by="agent")
    [address] = re.findall(r'href="([^"]+usage\.csv[^"]*)"', page)
    answer = operator.get(address)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="usage.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert [(row["day"], row["agent"], row["cost"]) for row in rows] == [
        ("2026-11-02", "assistant", "0.5"),
        ("2026-11-03", "clerk", "1.5"),
        ("2026-11-30", "assistant", ""),
    ]


def test_without_any_wish_it_is_this_month_day_by_day(acme, operator):
    steps_used(acme.owner, timezone.now())
    today = timezone.now().date()
    page = opened(operator)
    assert [row[0] for row in table(page, "usage")] == [today.isoformat()]
    assert page.count('class="soma-column"') == today.day
    assert f'value="{today.replace(day=1)}"' in page


def test_days_without_use_are_said_to_be_so(operator):
    page = opened(operator, **NOVEMBER)
    assert "No model was asked in these days" in page
    assert "<figure" not in page


@pytest.mark.parametrize(
    ("query", "field", "sentence"),
    [
        ({"from": "2026-13-01"}, "from", "Write a day as 2026-11-22."),
        ({"to": "tomorrow"}, "to", "Write a day as 2026-11-22."),
        ({"from": "2026-11-02", "to": "2026-11-01"}, "to", "the last of them not before the first"),
        ({"from": "2025-11-01", "to": "2026-11-02"}, "to", "Name at most 366 days"),
        ({"from": "2020-01-01", "to": "2026-11-01"}, "to", "Name at most 366 days"),
        ({"by": "colour"}, "by", "Select a valid choice"),
        ({"each": "hour"}, "each", "Select a valid choice"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(november, operator, query, field, sentence):
    page = opened(operator, **query)
    [at_field] = re.findall(
        rf'<div class="errors [^"]*">(?:(?!<div class="errors ).)*?name="{field}".*?</ul>', page, re.DOTALL
    )
    assert sentence in at_field
    assert "<table" not in page
    answer = operator.get("/admin/usage/usage.csv", query)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/usage/?")


def test_more_rows_than_can_be_told_are_an_error_of_the_group(acme, operator):
    agents_used(acme.owner, at(11, 2), selectors.MOST_ROWS + 1)
    assert "ask for fewer days, or group by less" in opened(operator, **NOVEMBER, by="agent")


def test_days_at_the_ends_of_the_calendar_have_nothing(operator):
    for query in ({"from": "0001-01-01", "to": "0001-01-02"}, {"from": "9999-12-30", "to": "9999-12-31"}):
        assert "No model was asked in these days" in opened(operator, **query)


def test_who_may_not_see_usage_records_sees_no_page_and_no_link(acme, november):
    staff = user_of(person("staff", acme.tenant, Role.VIEWER))
    staff.is_staff = True
    staff.save()
    client = Client(headers={"host": settings.ALLOWED_HOSTS[0]})
    client.force_login(staff)
    for address in ("/admin/usage/", "/admin/usage/usage.csv"):
        assert client.get(address).status_code == 403
    assert "/admin/usage/" not in client.get("/admin/").content.decode()
    staff.user_permissions.add(Permission.objects.get(codename="view_usagerecord"))
    assert len(table(opened(client, **NOVEMBER), "usage")) == 3
    assert "/admin/usage/" in client.get("/admin/").content.decode()


def test_nothing_of_another_tenant_is_shown_and_nothing_without_a_membership(november):
    other = organisation("other")
    assert "No model was asked in these days" in opened(operator_client(other.owner), **NOVEMBER)
    User.objects.create(username="nobody", password="!", is_staff=True, is_superuser=True)
    client = Client(headers={"host": settings.ALLOWED_HOSTS[0]})
    client.force_login(User.objects.get(username="nobody"))
    assert "You belong to no tenant" in opened(client)
    assert client.get("/admin/usage/usage.csv").status_code == 302
