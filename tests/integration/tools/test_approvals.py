"""Turns that ask before they act: stopped, answered, taken up again, and on the record."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.db.utils import ProgrammingError
from django.utils import timezone

import somaagent.celery  # noqa: F401 the sweep sends its messages to this application's broker
from apps.chat import tasks, turns
from apps.chat.approvals import Given
from apps.chat.models import Call, OnBusy, Turn, TurnState
from apps.chat.taps import Record
from apps.tools.models import ToolCallRecord, ToolDecision
from somaagent.background import run_coroutine
from somaagent.errors import SomaError
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.models import Role
from somaagent.tenancy.outbox.models import OutboxEvent
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, organisation, person, submitted
from tests.integration.tools.conftest import Post, calls
from tests.integration.tools.hosted import answered, hosted, now, question

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_message_is_left")]

SEND = ("send", {"to": "Ada"})
LOOK = ("look", {"to": "Oslo"})


def asked(acme: Organisation, text: str, **facts: Any) -> Turn:
    """A turn that a worker had, as it left it."""
    with tenant_scope(acme.tenant.id):
        turn = submitted(acme.owner, text, **facts).turn
    return hosted(acme, turn)


def records(acme: Organisation, turn: Turn) -> list[ToolCallRecord]:
    with tenant_scope(acme.tenant.id):
        return list(ToolCallRecord.objects.filter(turn_id=turn.id).order_by("id"))


def told_outside(acme: Organisation, turn: Turn) -> list[str]:
    """The types of the domain events on a turn, in their order."""
    with tenant_scope(acme.tenant.id):
        of_turn = OutboxEvent.objects.filter(
            Q(data__turn_id=str(turn.id)) | Q(data__target_id=str(turn.id))
        ).order_by("place")
        return list(of_turn.values_list("type", flat=True))


def events(acme: Organisation, turn: Turn) -> list[Record]:
    async def collected() -> list[Record]:
        followed = await turns.follow(actor=acme.owner, turn_id=turn.id, after=0)
        return [record async for record in followed if record is not None]

    return run_coroutine(collected())


def test_a_turn_waits_for_approval_and_goes_on_with_it(acme, post: Post):
    turn = asked(acme, calls(SEND, LOOK))
    assert (turn.state, turn.lease_owner, post.sent, post.looked) == (
        TurnState.AWAITING_APPROVAL,
        "",
        [],
        1,
    )
    call = question(acme, turn)
    assert (call.tool, call.risk, call.arguments) == ("send", "high", '{"to": "Ada"}')
    assert turn.approvals_expire_at == call.expires_at

    turn = answered(acme, turn, Given(call.call_id, approve=True))
    assert (turn.state, turn.output_message.text) == (
        TurnState.COMPLETED,
        "sent to Ada | Oslo is far away",
    )
    assert (post.sent, post.looked) == (["Ada"], 1)
    told = [record.type for record in events(acme, turn)]
    assert told.index("approval.required") < told.index("turn.awaiting_approval")
    assert told.index("turn.awaiting_approval") < told.index("approval.answered")
    assert told.count("tool.started") == 2
    assert told[-1] == "turn.completed"

    look, send = records(acme, turn)
    assert (look.tool, look.outcome, look.answer, look.result_characters) == ("look", "ok", "", 16)
    assert (send.tool, send.outcome, send.answer, send.answered_by) == (
        "send",
        "ok",
        "approved",
        acme.owner.user_id,
    )
    assert len(send.result_digest) == 64
    with tenant_scope(acme.tenant.id):
        decisions = ToolDecision.objects.filter(turn_id=turn.id, tool="send").order_by("id")
        assert [decision.effect for decision in decisions] == ["require_approval", "allow"]
        assert decisions[1].input["approval"]["by"] == str(acme.owner.user_id)
        assert send.decision_id == decisions[1].id


def test_a_call_that_is_denied_never_runs_and_the_model_is_told_why(acme, post: Post):
    turn = asked(acme, calls(SEND))
    call = question(acme, turn)
    turn = answered(acme, turn, Given(call.call_id, approve=False, reason="not her"))
    assert turn.state == TurnState.COMPLETED
    assert "The user denied it, saying “not her”" in turn.output_message.text
    [record] = records(acme, turn)
    assert (record.outcome, record.answer, post.sent) == ("denied", "denied", [])


def test_changed_arguments_are_checked_run_and_told_to_the_model(acme, post: Post):
    turn = asked(acme, calls(SEND))
    call = question(acme, turn)
    with pytest.raises(SomaError) as caught:
        answered(acme, turn, Given(call.call_id, approve=True, arguments={"to": "x" * 41}))
    assert (caught.value.code, caught.value.field) == ("invalid", "body.calls.0.arguments")
    turn = answered(acme, turn, Given(call.call_id, approve=True, arguments={"to": "Grace"}))
    assert post.sent == ["Grace"]
    assert '(It was run with other arguments: {"to":"Grace"})' in turn.output_message.text
    [record] = records(acme, turn)
    assert (record.arguments, record.edited) == ({"to": "Grace"}, True)


def test_each_step_may_ask(acme, post: Post):
    turn = asked(acme, f"{calls(SEND)}\nthen {calls(('send', {'to': 'Bob'}))}\nthen say: done")
    for _ in range(2):
        assert turn.state == TurnState.AWAITING_APPROVAL
        turn = answered(acme, turn, Given(question(acme, turn).call_id, approve=True))
    assert (turn.state, turn.output_message.text, post.sent) == (TurnState.COMPLETED, "done", ["Ada", "Bob"])


def test_all_questions_must_be_answered_and_an_answer_stands(acme, post: Post):
    turn = asked(acme, calls(SEND, ("send", {"to": "Bob"})))
    with tenant_scope(acme.tenant.id):
        first, second = Call.objects.filter(turn=turn).order_by("id")
    yes = Given(first.call_id, approve=True)
    assert answered(acme, turn, yes).state == TurnState.AWAITING_APPROVAL
    assert answered(acme, turn, yes).state == TurnState.AWAITING_APPROVAL
    with pytest.raises(SomaError, match="approved"):
        answered(acme, turn, Given(first.call_id, approve=False))
    assert answered(acme, turn, Given(second.call_id, approve=False)).state == TurnState.COMPLETED
    assert post.sent == ["Ada"]


def test_only_who_may_sees_the_question(acme, post: Post):
    turn = asked(acme, calls(SEND))
    call = question(acme, turn)
    given = Given(call.call_id, approve=True)
    for outsider in (person("member", acme.tenant, Role.MEMBER), organisation("other").owner):
        with pytest.raises(SomaError) as caught:
            answered(acme, turn, given, by=outsider)
        assert caught.value.code == "not_found"
    assert post.sent == []
    admin = person("admin", acme.tenant, Role.ADMIN)
    assert answered(acme, turn, given, by=admin).state == TurnState.COMPLETED
    assert records(acme, turn)[0].answered_by == admin.user_id
    with tenant_scope(acme.tenant.id):
        told = AuditEntry.objects.get(action="approval.answered")
    assert (told.user_id, told.target_id) == (admin.user_id, str(turn.id))
    assert (told.facts["answer"], told.facts["tool"]) == ("approved", call.tool)
    assert told_outside(acme, turn) == ["audit.recorded", "tool.called", "turn.finished"]


def test_a_question_that_nobody_answers_expires_and_the_turn_goes_on(acme, post: Post):
    turn = asked(acme, calls(SEND))
    call = question(acme, turn)
    tasks.turns_sweep()
    assert now(acme, turn).state == TurnState.AWAITING_APPROVAL
    with tenant_scope(acme.tenant.id):
        Call.objects.filter(id=call.id).update(expires_at=timezone.now() - timedelta(seconds=1))
    tasks.turns_sweep()
    turn = hosted(acme, turn)
    assert turn.state == TurnState.COMPLETED
    assert "Nobody approved it in time" in turn.output_message.text
    assert [record.outcome for record in records(acme, turn)] == ["expired"]
    with pytest.raises(SomaError, match="expired"):
        answered(acme, turn, Given(call.call_id, approve=True))


@pytest.mark.parametrize("how", ["cancel", "interrupt"])
def test_a_turn_that_waits_can_be_stopped(acme, post: Post, how):
    turn = asked(acme, calls(SEND, LOOK))
    if how == "cancel":
        run_coroutine(turns.cancel(actor=acme.owner, turn_id=turn.id))
    else:
        with pytest.raises(SomaError, match="running"):
            asked(acme, "say: hi", session_id=turn.session_id)
        again = asked(acme, "say: instead", session_id=turn.session_id, on_busy=OnBusy.INTERRUPT)
        assert again.output_message.text == "instead"
    turn = now(acme, turn)
    assert (turn.state, turn.begun, post.sent) == (TurnState.CANCELLED, None, [])
    assert turn.output_tokens > 0
    assert [record.outcome for record in records(acme, turn)] == ["ok", "cancelled"]
    if how == "cancel":
        assert events(acme, turn)[-1].type == "turn.cancelled"


def test_what_waits_behind_it_has_its_turn_after_it(acme, post: Post):
    turn = asked(acme, calls(SEND))
    behind = asked(acme, "say: next", session_id=turn.session_id, on_busy=OnBusy.QUEUE)
    assert behind.state == TurnState.QUEUED
    answered(acme, turn, Given(question(acme, turn).call_id, approve=True))
    assert now(acme, behind).state == TurnState.COMPLETED


def cut_short(acme: Organisation, turn: Turn) -> Turn:
    """Its host dies; the sweep finds it, and a worker takes it up."""
    with tenant_scope(acme.tenant.id):
        Turn.objects.filter(id=turn.id).update(
            state=TurnState.RUNNING,
            lease_owner="a host that died",
            lease_expires_at=timezone.now() - timedelta(seconds=1),
        )
        Call.objects.filter(turn=turn, state="awaiting", answer="approved").update(state="running")
    tasks.turns_sweep()
    return hosted(acme, turn)


def test_a_call_that_was_cut_short_is_not_run_again_unasked(acme, post: Post):
    turn = asked(acme, calls(SEND))
    call = question(acme, turn)
    with tenant_scope(acme.tenant.id):
        Call.objects.filter(id=call.id).update(
            answer="approved", answered_by=acme.owner.user_id, answered_role="owner"
        )
    turn = cut_short(acme, turn)
    assert (turn.state, turn.hosts_lost, post.sent) == (TurnState.AWAITING_APPROVAL, 1, [])
    asked_again = question(acme, turn)
    assert asked_again.cut_short
    assert "may have taken effect" in asked_again.reason
    turn = answered(acme, turn, Given(call.call_id, approve=False))
    assert "may have taken effect" in turn.output_message.text
    assert [record.outcome for record in records(acme, turn)] == ["cut_short"]
    assert post.sent == []


def test_a_harmless_call_that_was_cut_short_runs_again(acme, post: Post):
    turn = asked(acme, calls(SEND, LOOK))
    with tenant_scope(acme.tenant.id):
        Call.objects.filter(turn=turn, tool="look").update(state="running", outcome="", result="")
    turn = cut_short(acme, turn)
    assert (turn.state, post.looked) == (TurnState.AWAITING_APPROVAL, 2)


def test_failures_go_back_to_the_model(acme, post: Post):
    wanted = [("look", {"to": place}) for place in ("nowhere", "crash", "ever", "much")]
    turn = asked(acme, calls(*wanted, ("fly", {}), ("look", {"to": 3})))
    assert turn.state == TurnState.COMPLETED
    text = turn.output_message.text
    for reason in (
        "There is no such place.",
        "the server's log says why",
        "longer than 1 seconds",
        "[cut off",
    ):
        assert reason in text
    assert "sk-secret" not in text
    outcomes = {record.call_id: record.outcome for record in records(acme, turn)}
    assert sorted(outcomes.values()) == ["failed", "failed", "ok", "refused", "refused", "timed_out"]


def test_the_record_cannot_be_changed(acme, post: Post):
    asked(acme, calls(LOOK))
    ways = ("UPDATE {} SET tool = 'other'", "DELETE FROM {}", "TRUNCATE {}")
    for table, way in itertools.product(("tools_tooldecision", "tools_toolcallrecord"), ways):
        with (
            tenant_scope(acme.tenant.id),
            pytest.raises(ProgrammingError, match="permission denied"),
            connection.cursor() as cursor,
        ):
            cursor.execute(way.format(table))


def test_secrets_in_arguments_are_not_recorded(acme, post: Post):
    turn = asked(acme, calls(("look", {"to": "Oslo", "password": "hunter2", "n": "a\x00b"})))
    assert turn.state == TurnState.COMPLETED
    [record] = records(acme, turn)
    assert record.arguments == {"to": "Oslo", "password": "••••", "n": "a\ufffdb"}
    assert "hunter2" not in str(record.arguments)


def test_an_agent_has_the_tools_that_it_names_alone(acme, post: Post):
    with tenant_scope(acme.tenant.id):
        acme.agent.tools = ["lo*"]
        acme.agent.save()
    turn = asked(acme, calls(SEND, LOOK))
    assert "There is no tool named 'send'. Tools: look." in turn.output_message.text
    assert post.sent == []
