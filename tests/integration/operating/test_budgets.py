"""Owners and admins bound what is spent, over the API, and see how their budgets stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from somaagent.tenancy.budgets.models import Budget, BudgetCount, Reservation
from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.models import Role
from somaagent.tenancy.scope import tenant_scope
from tests.factories import key_of, keyed, organisation, person
from tests.integration.tenancy.town import Program

from .conftest import refusal, told

pytestmark = pytest.mark.django_db(transaction=True)
BUDGETS = "/api/v1/admin/budgets"
MONEY = {"name": "All", "covers": "tenant", "measure": "money", "period": "month", "amount": "250.50"}
TOKENS = {"name": "Team", "covers": "tenant", "measure": "tokens", "period": "day", "amount": "1000"}


@pytest.fixture
def admin(acme):
    return Program(key_of(person("admin", acme.tenant, Role.ADMIN)))


def spend(acme, budget_id, spent, reserved):
    """As steps do it that have ended, and that run."""
    with tenant_scope(acme.tenant.id):
        BudgetCount.objects.filter(budget_id=budget_id).update(spent=Decimal(spent))
        Reservation.objects.create(
            tenant=acme.tenant,
            budget_id=budget_id,
            run_id=uuid7(),
            amount=Decimal(reserved),
            expires_at=datetime.now(UTC) + timedelta(minutes=1),
        )


def test_an_admin_makes_reads_changes_and_deletes_a_budget(acme, admin):
    made = admin.made(BUDGETS, MONEY)
    assert (made["amount"], made["used"], made["reserved"], made["left"]) == ("250.5", "0", "0", "250.5")
    assert made["begins_anew"].endswith("-01")
    spend(acme, made["id"], "100.25", "0.125")
    where = f"{BUDGETS}/{made['id']}"
    found = admin.call("GET", where).json()
    assert (found["used"], found["reserved"], found["left"]) == ("100.25", "0.125", "150.125")
    changed = admin.call("PATCH", where, {"amount": "50"}).json()
    assert (changed["name"], changed["amount"], changed["left"]) == ("All", "50", "0")
    assert admin.call("DELETE", where).status_code == 204
    assert refusal(admin.call("GET", where), 404) == "not_found"
    for action in ("budget.created", "budget.changed", "budget.deleted"):
        assert len(told(acme.tenant, action)) == 1
    assert told(acme.tenant, "budget.changed")[0].facts["values"]["amount"]["to"] == "50"


def test_a_day_s_budget_begins_anew_tomorrow(admin):
    made = admin.made(BUDGETS, TOKENS)
    assert made["begins_anew"] == str(datetime.now(UTC).date() + timedelta(days=1))


def test_each_kind_of_subject_is_of_the_tenant(acme, admin):
    member, other = keyed(person("member", acme.tenant)), organisation("other")
    stranger = keyed(other.owner)
    pairs = {
        "user": (member.user_id, stranger.user_id),
        "api_key": (member.key_id, stranger.key_id),
        "agent": (acme.agent.id, other.agent.id),
    }
    for covers, (ours, theirs) in pairs.items():
        body = TOKENS | {"covers": covers}
        for subject in (theirs, uuid7(), None):
            given = body | {"subject_id": str(subject) if subject else None}
            answer = admin.call("POST", BUDGETS, given)
            assert answer.json()["errors"][0]["field"] == "body.subject_id", answer.content
        assert admin.made(BUDGETS, body | {"subject_id": str(ours)})["covers"] == covers
    with_subject = admin.call("POST", BUDGETS, TOKENS | {"subject_id": str(member.user_id)})
    assert with_subject.status_code == 422


@pytest.mark.parametrize(
    "amount",
    ["-1", "1e30", "NaN", "Infinity", "1000000000001", "0.0000001", "", "0.5", 5, None, " 5", "5\n"],
)
def test_absurd_amounts_are_refused(acme, admin, amount):
    answer = admin.call("POST", BUDGETS, TOKENS | {"amount": amount})
    assert answer.status_code == 422, answer.content
    assert answer.json()["errors"][0]["field"] == "body.amount"
    made = admin.made(BUDGETS, TOKENS)
    changed = admin.call("PATCH", f"{BUDGETS}/{made['id']}", {"amount": amount})
    assert changed.status_code == 422
    with tenant_scope(acme.tenant.id):
        assert Budget.objects.get().amount == 1000


def test_there_is_one_of_a_kind_and_a_repetition_finds_it(admin):
    first, again = (admin.call("POST", BUDGETS, TOKENS, idempotency_key="a") for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    other = admin.call("POST", BUDGETS, TOKENS | {"amount": "5"}, idempotency_key="a")
    assert refusal(other, 422) == "idempotency_key_reused"
    assert refusal(admin.call("POST", BUDGETS, TOKENS | {"name": "Twin"}), 409) == "budget_exists"


def test_one_that_is_used_up_stops_its_people_and_says_so(acme, admin):
    admin.made(BUDGETS, TOKENS | {"amount": "0", "name": "Pocket money"})
    stopped = admin.call("POST", "/api/v1/turns", {"input": "hi"})
    assert refusal(stopped, 402) == "budget_exceeded"
    assert "Pocket money" in stopped.json()["detail"]


def test_members_see_what_binds_them_and_manage_nothing(acme, admin):
    member, colleague = keyed(person("member", acme.tenant)), keyed(person("colleague", acme.tenant))
    for name, covers, subject in (
        ("all", "tenant", None),
        ("mine", "user", member.user_id),
        ("my key", "api_key", member.key_id),
        ("the agent", "agent", acme.agent.id),
        ("theirs", "user", colleague.user_id),
        ("their key", "api_key", colleague.key_id),
    ):
        subject_id = str(subject) if subject else None
        admin.made(BUDGETS, TOKENS | {"name": name, "covers": covers, "subject_id": subject_id})
    program = Program(key_of(member))
    seen = [each["name"] for each in program.call("GET", "/api/v1/budgets").json()["items"]]
    assert seen == ["the agent", "my key", "mine", "all"]
    assert len(admin.call("GET", BUDGETS).json()["items"]) == 6
    for method, path, body in (("GET", BUDGETS, None), ("POST", BUDGETS, MONEY)):
        assert refusal(program.call(method, path, body), 403) == "role_forbidden"
