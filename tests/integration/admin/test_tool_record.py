"""An operator reads the record of tools: what was decided, who answered, how it ended."""

from __future__ import annotations

import html
import re

import pytest
from django.urls import reverse

from apps.tools.models import ToolCallRecord, ToolDecision
from somaagent.tenancy.models import Role
from somaagent.tenancy.scope import tenant_scope
from tests.factories import operator_client, organisation, person, submitted, user_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme():
    return organisation()


@pytest.fixture
def operator(acme):
    return operator_client(acme.owner)


@pytest.fixture
def member(acme):
    return person("ada", acme.tenant)


@pytest.fixture
def admin(acme):
    return person("grace", acme.tenant, Role.ADMIN)


@pytest.fixture
def turn(acme, member):
    with tenant_scope(acme.tenant.id):
        return submitted(member, "Send it.").turn


@pytest.fixture
def record(acme, member, admin, turn):
    """Ada's agent wanted to send something: an admin approved, it was judged again and failed."""
    whose = {"tenant": acme.tenant, "user_id": member.user_id, "agent": "assistant", "turn_id": turn.id}
    of = {"session_id": turn.session_id, "call_id": "call_1", "tool": "post__send", "source": "mcp:post"}
    arguments = {"to": "<b>Zoë</b>", "password": "••••"}
    with tenant_scope(acme.tenant.id):
        asked, allowed = (
            ToolDecision.objects.create(
                **whose, **of, input={"arguments": arguments}, effect=effect, reason=reason, policy="sha256:1"
            )
            for effect, reason in (("require_approval", "It can send."), ("allow", "Somebody has approved."))
        )
        call = ToolCallRecord.objects.create(
            **whose,
            **of,
            arguments=arguments,
            decision_id=allowed.id,
            answer="approved",
            answered_by=admin.user_id,
            outcome="failed",
            reason="The post office is closed.",
            seconds=1.5,
        )
        ToolDecision.objects.create(
            **whose | {"turn_id": None},
            **of | {"tool": "calculator", "source": "built_in", "call_id": "call_2"},
            input={},
            effect="deny",
            reason="No.",
        )
    return asked, allowed, call


def shown(operator, path, *arguments, **query):
    answer = operator.get(reverse(f"admin:tools_{path}", args=arguments), query)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def found(operator, kind, **query):
    """How many rows the list has."""
    page = shown(operator, f"{kind}_changelist", **query)
    return len(re.findall(r'<th[^>]*class="[^"]*field-created_at', page))


def test_a_call_is_read_with_its_arguments_decisions_and_who_answered(member, admin, turn, operator, record):
    asked, allowed, call = record
    listed = shown(operator, "toolcallrecord_changelist")
    for text in (user_of(member).username, user_of(admin).username, "post__send", "mcp:post", "1.50"):
        assert text in listed

    answer = operator.get(reverse("admin:tools_toolcallrecord_change", args=[call.pk])).content.decode()
    page = html.unescape(answer)
    assert '{\n  "to": "<b>Zoë</b>",\n  "password": "••••"\n}' in page
    assert "<b>Zoë" not in answer
    for text in ("The post office is closed.", user_of(admin).username, "Approved", "failed"):
        assert text in page
    for name, row_id in (
        ("tools_tooldecision", asked.pk),
        ("tools_tooldecision", allowed.pk),
        ("chat_turn", turn.pk),
        ("agent_sessions_session", turn.session_id),
    ):
        link = reverse(f"admin:{name}_change", args=[row_id])
        assert f'href="{link}"' in page
        assert operator.get(link).status_code == 200


def test_a_decision_leads_to_the_call_and_says_what_was_asked(operator, record):
    asked, _, call = record
    page = shown(operator, "tooldecision_change", asked.pk)
    assert f'href="{reverse("admin:tools_toolcallrecord_change", args=[call.pk])}"' in page
    assert '"arguments": {' in page
    assert "It can send." in page


def test_the_record_is_filtered_and_searched(member, turn, operator, record):
    for query, count in (
        ({}, 3),
        ({"effect": "deny"}, 1),
        ({"tool": "post__send"}, 2),
        ({"source": "built_in"}, 1),
        ({"tool": "nothing"}, 0),
        ({"q": "can send"}, 1),
        ({"q": "call_2"}, 1),
        ({"q": str(turn.id)}, 2),
        ({"q": user_of(member).username}, 3),
        ({"q": "nobody"}, 0),
    ):
        assert found(operator, "tooldecision", **query) == count, query
    for query, count in (
        ({"outcome__exact": "failed"}, 1),
        ({"outcome__exact": "ok"}, 0),
        ({"answer__exact": "approved"}, 1),
        ({"answer__exact": "denied"}, 0),
        ({"q": "office is closed"}, 1),
    ):
        assert found(operator, "toolcallrecord", **query) == count, query


def test_nobody_adds_changes_or_deletes_the_record(operator, record):
    asked, _, call = record
    for kind, row in (("tooldecision", asked), ("toolcallrecord", call)):
        assert operator.get(reverse(f"admin:tools_{kind}_add")).status_code == 403
        change = reverse(f"admin:tools_{kind}_change", args=[row.pk])
        assert operator.post(change, {"reason": "Mine."}).status_code == 403
        assert operator.post(reverse(f"admin:tools_{kind}_delete", args=[row.pk])).status_code == 403
        assert 'name="_save"' not in operator.get(change).content.decode()


def test_another_organisations_record_is_not_there(operator, record):
    other = organisation("other")
    with tenant_scope(other.tenant.id):
        strange = ToolCallRecord.objects.create(
            tenant=other.tenant,
            user_id=other.owner.user_id,
            call_id="call_1",
            tool="strange",
            arguments={},
            outcome="ok",
        )
    change = reverse("admin:tools_toolcallrecord_change", args=[strange.pk])
    assert operator.get(change).status_code == 302
    assert "strange" not in shown(operator, "toolcallrecord_changelist")
