"""The admin's first page: what is used, what runs, what goes wrong; each figure leads to its list."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.chat.models import Call, CallState, TurnState
from somaagent.tenancy.audit.entries import audit_entry_create, who
from somaagent.tenancy.budgets.models import Reservation
from somaagent.tenancy.budgets.services import budget_create
from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.models import Role, User
from somaagent.tenancy.outbox.models import OutboxEvent
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, operator_client, organisation, person, submitted, user_of
from tests.integration.admin.spending import ago, steps_used, turns_done

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


@pytest.fixture
def operator(acme: Organisation) -> Client:
    return operator_client(acme.owner)


def opened(operator: Client, address: str = "/admin/") -> str:
    answer = operator.get(address)
    assert answer.status_code == 200, address
    return html.unescape(answer.content.decode())


def card(page: str, title: str) -> str:
    """What a card says, its links by their text alone."""
    found = next(one for one in re.findall(r"<section.*?</section>", page, re.DOTALL) if f">{title}<" in one)
    return " ".join(re.sub(r"<[^>]+>", " ", found).split())


def listed(operator: Client, page: str, text: str) -> int:
    """How many rows the list has to which the link with this text leads."""
    address = next(
        at for at, said in re.findall(r'<a[^>]*href="([^"]+)"[^>]*>([^<]*)</a>', page) if said == text
    )
    return len(re.findall(r'<th[^>]*class="[^"]*field-', opened(operator, address)))


def test_a_new_platform_says_what_to_do_first(operator):
    page = opened(operator)
    first = card(page, "Nothing has been asked here yet. First:")
    assert "Done: say which model answers" in first
    assert "Done: enter its prices" not in first
    assert "Done: set up an agent" in first
    for title, words in (
        ("Turns in the last 24 hours", "Nobody has asked anything since then."),
        ("Today", "Nothing was spent yesterday by this time"),
        ("The last 30 days", "No model has been asked"),
        ("Top agents this month", "No agent has answered this month."),
        ("Top users this month", "Nobody has asked anything this month."),
        ("Budgets close to their limit, or over it", "None: less than four fifths"),
        ("Approvals that wait", "No call of a tool waits for anybody."),
        ("Failed turns of the last 24 hours", "None has failed."),
    ):
        assert words in card(page, title)
    assert "<figure" not in page


def test_turns_are_counted_by_state_and_reason_and_lead_to_their_lists(acme, operator):
    turns_done(acme.owner, ago(hours=2), 4)
    turns_done(acme.owner, ago(hours=30), 9)
    turns_done(acme.owner, ago(hours=3), 3, state=TurnState.FAILED, error_code="model_unreachable")
    turns_done(acme.owner, ago(hours=4), 2, state=TurnState.FAILED, error_code="budget_exceeded")
    turns_done(acme.owner, ago(hours=30), 2, state=TurnState.FAILED, error_code="model_unreachable")
    page = opened(operator)
    assert "Nothing has been asked" not in page
    assert card(page, "Turns in the last 24 hours").endswith("24 hours 9 completed 4 failed 5")
    assert "model_unreachable 3 budget_exceeded 2" in card(page, "Failed turns of the last 24 hours")
    assert listed(operator, page, "completed") == 4
    assert listed(operator, page, "model_unreachable") == 3
    assert listed(operator, page, "All that failed") == 5


def test_what_runs_waits_and_is_stuck_now(acme, operator):
    live = timezone.now() + timedelta(minutes=1)
    turns_done(acme.owner, ago(minutes=5), state=TurnState.RUNNING, lease_expires_at=live)
    turns_done(acme.owner, ago(days=2), state=TurnState.RUNNING, lease_expires_at=ago(minutes=10))
    turns_done(acme.owner, ago(minutes=9), state=TurnState.QUEUED, queued_at=ago(minutes=9))
    with tenant_scope(acme.tenant.id):
        submitted(acme.owner, "just now")
    [asking] = turns_done(
        acme.owner, ago(hours=1), state=TurnState.AWAITING_APPROVAL, approvals_expire_at=live
    )
    with tenant_scope(acme.tenant.id):
        Call.objects.create(
            tenant=acme.tenant, turn=asking, step=1, call_id="c1", tool="post__send", arguments="{}",
            state=CallState.AWAITING, asked_at=ago(minutes=58), reason="It sends something.",
        )  # fmt: skip
    page = opened(operator)
    assert "queued 2 running 2 awaiting approval 1 stuck 2" in card(page, "Now")
    assert listed(operator, page, "stuck") == 2
    assert "1 post__send for 58" in card(page, "Approvals that wait").replace("\xa0", " ")
    assert reverse("admin:chat_turn_change", args=[asking.pk]) in page


def test_tokens_and_cost_are_shown_with_their_trend_and_a_chart(acme, operator):
    dear = person("dear", acme.tenant)
    now = timezone.now()
    steps_used(acme.owner, now, 3, cost=Decimal("0.5"), input_tokens=1_000, cached_tokens=400)
    steps_used(dear, now, cost=Decimal("1.5"), agent="clerk", input_tokens=60_000)
    steps_used(dear, now, input_tokens=7)
    page = opened(operator)
    today = card(page, "Today")
    assert today.startswith("Today 3.00 cost Nothing was spent yesterday by this time 63.1k tokens")
    assert "1 step of unknown cost is not in it" in today
    assert f"{user_of(dear).username} 60k 1.50" in card(page, "Top users this month")
    assert "clerk 60k 1.50 assistant 3,047 1.50" in card(page, "Top agents this month")
    days = card(page, "The last 30 days")
    assert "63.1k in all" in days
    assert "Cached input 1,200" in days
    # The chart is a picture with words for those who do not see it, and its numbers stand below.
    assert re.search(r'<svg[^>]*role="img"[^>]*aria-label="Tokens, [^"]+ in all', page)
    assert page.count('class="soma-column"') == 2 * 30
    assert listed(operator, page, "clerk") == 1
    assert listed(operator, page, user_of(dear).username) == 2
    assert listed(operator, page, "1 step") == 1


def test_budgets_that_are_close_to_their_limit_or_over_it(acme, operator):
    steps_used(acme.owner, timezone.now(), cost=Decimal("8.5"), input_tokens=900, output_tokens=90)
    common = {"tenant_id": acme.tenant.id, "covers": "tenant"}
    with tenant_scope(acme.tenant.id):
        budget_create(**common, name="Close", measure="money", period="month", amount=Decimal(10))
        over = budget_create(**common, name="Over", measure="tokens", period="day", amount=Decimal(500))
        held = budget_create(**common, name="Held", measure="money", period="day", amount=Decimal(20))
        budget_create(**common, name="Plenty", measure="tokens", period="month", amount=Decimal(10**9))
    title = "Budgets close to their limit, or over it"
    first = card(opened(operator), title)
    assert first.index("Over used up") < first.index("Close 85 %")
    assert "990 of 500 tokens this day, tenant" in first
    assert "8.50 of 10.00 this month, tenant" in first
    assert "Held" not in first
    assert "Plenty" not in first
    with tenant_scope(acme.tenant.id):
        facts = {"tenant": acme.tenant, "budget": held, "amount": Decimal(8)}
        Reservation.objects.create(**facts, run_id=uuid7(), expires_at=ago(minutes=1))
        assert "Held" not in card(opened(operator), title)
        Reservation.objects.create(**facts, run_id=uuid7(), expires_at=timezone.now() + timedelta(minutes=1))
    page = opened(operator)
    assert "Held 82 %" in card(page, title)
    assert reverse("admin:tenancy_budget_change", args=[over.pk]) in page


def test_health_the_outbox_and_the_last_entries_of_the_audit(acme, operator):
    with tenant_scope(acme.tenant.id):
        audit_entry_create(by=who(acme.owner), action="budget.changed", target_type="budget")
        waiting = OutboxEvent.objects.filter(published_at=None).count()
    page = opened(operator)
    services = card(page, "Services")
    assert "unhealthy" in services
    assert "orchestrator down" in services
    assert re.search(r"events to publish \d", services)
    assert waiting >= 1
    assert listed(operator, page, "events to publish") == waiting
    assert f"budget.changed {user_of(acme.owner).username}" in card(page, "Last entries of the audit")
    [entry] = re.findall(r'href="(/admin/tenancy/auditentry/[^/]+/change/)">budget.changed<', page)
    assert "budget.changed" in opened(operator, entry)


def test_an_operator_is_shown_only_what_they_may_see(acme):
    staff = user_of(person("staff", acme.tenant, Role.VIEWER))
    staff.is_staff = True
    staff.save()
    client = Client(headers={"host": settings.ALLOWED_HOSTS[0]})
    client.force_login(staff)
    steps_used(acme.owner, timezone.now(), cost=Decimal("1.5"))
    turns_done(acme.owner, ago(hours=1))
    page = opened(client)
    assert "Services" in page
    for title in (
        "Turns in the last 24 hours",
        "Today",
        "Top users",
        "Budgets close",
        "Last entries",
        "events to publish",
    ):
        assert title not in page
    staff.user_permissions.add(Permission.objects.get(codename="view_turn"))
    page = opened(client)
    assert "Turns in the last 24 hours" in page
    assert "Today" not in page


def test_without_a_membership_an_operator_sees_no_tenants_figures(acme):
    steps_used(acme.owner, timezone.now(), cost=Decimal("1.5"))
    nobody = User.objects.create(username="nobody", password="!", is_staff=True, is_superuser=True)
    client = Client(headers={"host": settings.ALLOWED_HOSTS[0]})
    client.force_login(nobody)
    page = opened(client)
    assert "You belong to no tenant" in page
    assert "Turns in the last 24 hours" not in page


def test_another_tenants_figures_are_not_in_it(acme, operator):
    other = organisation("other")
    steps_used(other.owner, timezone.now(), cost=Decimal("1.5"), agent="strange")
    turns_done(other.owner, ago(hours=1), state=TurnState.FAILED, error_code="strange")
    page = opened(operator)
    assert "strange" not in page
    assert "Nothing has been asked here yet" in page


def test_the_page_brings_no_script_and_no_style_of_its_own_inline(acme, operator):
    steps_used(acme.owner, timezone.now(), cost=Decimal("1.5"))
    answer = operator.get("/admin/")
    shown = answer.content.decode().partition('<div class="soma-page">')[2].partition("soma-lists")[0]
    assert "<figure" in shown
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", shown)
    assert "unsafe-inline" not in re.search(r"script-src[^;]*", answer["Content-Security-Policy"]).group()
