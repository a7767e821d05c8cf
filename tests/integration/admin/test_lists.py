"""The admin's lists: of one tenant alone, and with as many queries for many rows as for few."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.messages.storage.cookie import CookieStorage
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from apps.chat import hosting
from apps.chat.hosting import Outcome
from apps.chat.models import TurnState
from apps.chat.schedules import runs
from apps.chat.schedules import services as schedules
from apps.chat.webhooks.models import every_event
from apps.chat.webhooks.services import webhook_create
from apps.tools.mcp.models import McpServer
from apps.tools.mcp.services import mcp_token_put
from apps.tools.models import ToolCallRecord, ToolDecision
from somaagent.agent.messages import ModelMessage, Usage
from somaagent.agent.step_events import StepCompleted
from somaagent.tenancy.budgets.services import budget_create
from somaagent.tenancy.invitations import invitation_create
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import performed
from tests.factories import key_of, organisation, person, submitted, taken, user_of

pytestmark = pytest.mark.django_db
MODELS = [
    "Tenant",
    "User",
    "Membership",
    "ApiKey",
    "Invitation",
    "ModelProfile",
    "Agent",
    "Session",
    "Message",
    "Turn",
    "Step",
    "Webhook",
    "WebhookDelivery",
    "Schedule",
    "ScheduleRun",
    "McpServer",
    "McpToken",
    "ToolDecision",
    "ToolCallRecord",
    "UsageRecord",
    "Budget",
    "Authenticator",
    "UserSession",
    "AuditEntry",
    "OutboxEvent",
]
# Of people, who belong to no tenant.
OF_ALL = ("Tenant", "User", "Authenticator", "UserSession")


def model_admin(name):
    return next(found for model, found in admin.site._registry.items() if model.__name__ == name)


def listed(acme, name, **query):
    """The rendered list, as the tenant's operator sees it."""
    user = user_of(acme.owner)
    user.is_staff = user.is_superuser = True
    request: Any = RequestFactory().get("/admin/", query)
    request.user, request.actor = user, acme.owner
    request._messages = CookieStorage(request)
    with tenant_scope(acme.tenant.id):
        return model_admin(name).changelist_view(request).render().content.decode()


def populate(acme, rows):
    for number in range(rows):
        member = person(f"somebody{number}", acme.tenant)
        key_of(member)
        Authenticator.objects.create(user_id=member.user_id, type="totp", data={"secret": "sealed"})
        UserSession.objects.create(
            user_id=member.user_id, ip="192.0.2.1", session_key=member.user_id.hex, user_agent="Firefox/140.0"
        )
        with tenant_scope(acme.tenant.id):
            invitation_create(actor=acme.owner, role="member", name=f"somebody{number}")
            webhook_create(actor=member, url=f"https://example.org/somebody{number}", events=every_event())
            turn = submitted(member, f"question {number}").turn
            work = taken(turn)
            step = StepCompleted(1, ModelMessage("assistant", "answer"), (), Usage(1, 0, 1, 0), "stop")
            performed(hosting.step_keep(work=work, step=step))
            outcome = Outcome(TurnState.COMPLETED, "answer", Usage(1, 0, 1, 0), last_event=3)
            performed(hosting.turn_finish(work=work, outcome=outcome))
            schedule = schedules.schedule_create(
                actor=member, prompt=f"question {number}", cron="0 8 * * *", time_zone="UTC"
            )
            runs.run_now(actor=member, schedule_id=schedule.id)
            slug = f"somebody{number}-{McpServer.objects.count()}"
            server = McpServer.objects.create(
                tenant_id=acme.tenant.id, slug=slug, name=slug, url="https://mcp.example.org/mcp"
            )
            mcp_token_put(server=server, refresh_token=f"token-of-{slug}")
            decided_and_called(member, turn, f"somebody{number}")
            budget_create(
                tenant_id=acme.tenant.id,
                name=f"somebody{number}",
                covers="user",
                subject_id=member.user_id,
                measure="tokens",
                period="day",
                amount=Decimal(1_000_000),
            )


def decided_and_called(member, turn, tool):
    whose = {"tenant_id": member.tenant_id, "user_id": member.user_id, "turn_id": turn.id}
    of = {"session_id": turn.session_id, "call_id": "call_1", "tool": tool, "source": "built_in"}
    decision = ToolDecision.objects.create(
        **whose, **of, input={"arguments": {"q": "question"}}, effect="require_approval", reason="It asks."
    )
    ToolCallRecord.objects.create(
        **whose,
        **of,
        arguments={"q": "question"},
        decision_id=decision.id,
        answer="approved",
        answered_by=member.user_id,
        outcome="ok",
        seconds=0.25,
    )


def queries_of(acme):
    """How many each list needs."""
    needed = {}
    for name in MODELS:
        with CaptureQueriesContext(connection) as queries:
            assert "result_list" in listed(acme, name), name
        needed[name] = len(queries)
    return needed


def test_many_rows_need_no_more_queries_than_few():
    acme = organisation()
    populate(acme, 2)
    queries_of(acme)  # what only the first look at a list asks for
    few = queries_of(acme)
    populate(acme, 8)
    assert queries_of(acme) == few


def test_rows_of_another_tenant_are_not_seen():
    acme, other = organisation("acme"), organisation("other")
    populate(other, 3)
    theirs = ("somebody", "question", str(other.agent.id))
    pages = {name: listed(acme, name) for name in MODELS if name not in OF_ALL}
    assert [(name, word) for name, page in pages.items() for word in theirs if word in page] == []


def test_a_digest_is_nowhere_shown():
    assert "digest" not in str(model_admin("ApiKey").get_fields(None, None))
    acme = organisation()
    key = key_of(acme.owner)
    page = listed(acme, "ApiKey")
    assert key[:11] in page
    assert key not in page


def test_a_search_for_any_text_finds_or_finds_nothing():
    acme = organisation()
    populate(acme, 1)
    for name in MODELS:
        for text in (
            "question",
            "no such thing",
            '"',
            "%",
            "01a2002d-6787-7225-8da1-12287d102d9a",
            "ü" * 300,
        ):
            assert listed(acme, name, q=text)
