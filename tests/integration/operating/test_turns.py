"""Owners and admins look at everybody's turns, and mend those that are stuck."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

import somaagent.celery  # noqa: F401 messages are sent to this application's broker
from apps.chat import hosting
from apps.chat.hosting import Outcome
from apps.chat.models import Turn, TurnState
from somaagent import valkey
from somaagent.agent.messages import ModelMessage, ToolCall, Usage
from somaagent.agent.step_events import StepCompleted
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.models import Role, User
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import performed
from tests.factories import Organisation, key_of, organisation, person, submitted, taken, user_of
from tests.integration.tenancy.town import Program

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_message_is_left")]
TURNS = "/api/v1/admin/turns"


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


@pytest.fixture
def admin(acme: Organisation) -> Program:
    return Program(key_of(person("grace", acme.tenant, Role.ADMIN)))


@pytest.fixture
def ada(acme: Organisation) -> Actor:
    return person("ada", acme.tenant)


def asked(actor: Actor, text: str = "What is said is nobody else's.", **facts: Any) -> Turn:
    with tenant_scope(actor.tenant_id):
        return submitted(actor, text, **facts).turn


def finished(turn: Turn, state: TurnState = TurnState.COMPLETED, **facts: Any) -> Turn:
    with tenant_scope(turn.tenant_id):
        outcome = Outcome(state, "My answer.", Usage(5, 0, 2, 0), last_event=4, **facts)
        performed(hosting.turn_finish(work=taken(turn), outcome=outcome))
    return turn


def hosted(turn: Turn, *, silent: bool = False) -> Turn:
    """In the hands of a host; of one that is ``silent``, the lease has run out."""
    with tenant_scope(turn.tenant_id):
        taken(turn, "gateway-1")
        if silent:
            Turn.objects.filter(id=turn.id).update(lease_expires_at=timezone.now() - timedelta(minutes=3))
    return turn


def left(turn: Turn) -> Turn:
    """Queued, and taken by nobody for long."""
    with tenant_scope(turn.tenant_id):
        Turn.objects.filter(id=turn.id).update(queued_at=timezone.now() - timedelta(minutes=3))
    return turn


def listed(by: Program, **wanted: str) -> list[str]:
    query = "&".join(f"{name}={value}" for name, value in wanted.items())
    answer = by.call("GET", f"{TURNS}?{query}")
    assert answer.status_code == 200, answer.content
    return [turn["id"] for turn in answer.json()["items"]]


def now(turn: Turn) -> Turn:
    with tenant_scope(turn.tenant_id):
        return Turn.objects.get(id=turn.id)


def audited(acme: Organisation, action: str) -> list[AuditEntry]:
    with tenant_scope(acme.tenant.id):
        return list(AuditEntry.objects.filter(action=action))


def refusal(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.content
    return answer.json()["code"]


def test_an_admin_reads_everybodys_turns_and_nothing_that_was_said_in_them(acme, admin, ada):
    failed = finished(
        asked(acme.owner), TurnState.FAILED, error_code="model_away", error_message="It is away."
    )
    running = hosted(asked(ada))
    assert listed(admin) == [str(running.id), str(failed.id)]

    answer = admin.call("GET", TURNS)
    assert "What is said" not in answer.content.decode()
    assert "My answer" not in answer.content.decode()
    first, second = answer.json()["items"]
    assert first["user"] == {"id": str(ada.user_id), "username": user_of(ada).username}
    assert (first["state"], first["agent"], first["attempt"], first["stuck"]) == (
        "running", "assistant", 1, None,
    )  # fmt: skip
    assert first["lease"]["host"] == "gateway-1"
    assert second["error"] == {"code": "model_away", "message": "It is away.", "retryable": False}
    assert second["usage"]["input_tokens"] == 5
    assert second["lease"] is None


def test_a_turn_is_read_with_its_steps_in_short(acme, admin, ada):
    turn = asked(ada)
    message = ModelMessage(
        "assistant", "My own thoughts.", (ToolCall("c1", "calculator", '{"expression": "6*7"}'),)
    )
    step = StepCompleted(
        1, message, (ModelMessage("tool", "42", tool_call_id="c1"),), Usage(9, 0, 3, 0), "tool_calls"
    )
    with tenant_scope(acme.tenant.id):
        performed(hosting.step_keep(work=taken(turn), step=step))
    answer = admin.call("GET", f"{TURNS}/{turn.id}")
    told = json.dumps(answer.json())
    for private in ("My own thoughts", "6*7", "What is said"):
        assert private not in told
    (short,) = answer.json()["steps"]
    assert (short["number"], short["tools"], short["finish_reason"]) == (1, ["calculator"], "tool_calls")
    assert short["usage"]["output_tokens"] == 3


def test_turns_are_found_by_what_they_are(acme, admin, ada):
    first = finished(asked(ada))
    second = finished(asked(acme.owner), TurnState.FAILED, error_code="model_away")
    third = asked(ada)
    every = [str(third.id), str(second.id), str(first.id)]
    for wanted, found in (
        ({"state": "failed"}, every[1:2]),
        ({"state": "queued"}, every[:1]),
        ({"user_id": str(ada.user_id)}, [every[0], every[2]]),
        ({"session_id": str(second.session_id)}, every[1:2]),
        ({"agent": "assistant"}, every),
        ({"agent": "another"}, []),
        ({"since": "2020-01-01T00:00:00Z", "until": "9999-12-31T23:59:59.999999Z"}, every),
        ({"since": f"{now(second).created_at:%Y-%m-%dT%H:%M:%S.%fZ}"}, every[:2]),
        ({"until": f"{now(second).created_at:%Y-%m-%dT%H:%M:%S.%fZ}"}, every[2:]),
        ({"until": "0001-01-01T00:00:00Z"}, []),
        ({"since": "2411-08-03T18:09:25-23:31"}, []),
        ({"stuck": "true"}, []),
    ):
        assert listed(admin, **wanted) == found, wanted
    page = admin.call("GET", f"{TURNS}?limit=2").json()
    assert listed(admin, limit="2", cursor=page["next"]) == every[2:]
    for wrong in (
        "state=lost",
        "since=yesterday",
        "since=0.5",
        "since=0001-01-01T00:00:00%2B12:00",
        "user_id=ada",
        "cursor=1",
    ):
        assert admin.call("GET", f"{TURNS}?{wrong}").status_code == 422


def test_stuck_are_those_that_nobody_works_at(admin, ada):
    hosted(asked(ada))
    asked(ada)
    silent = hosted(asked(ada), silent=True)
    behind = left(asked(ada, session_id=silent.session_id, on_busy="queue"))
    untaken = left(asked(ada))
    assert listed(admin, stuck="true") == [str(untaken.id), str(silent.id)]
    told = {turn["id"]: turn["stuck"] for turn in admin.call("GET", TURNS).json()["items"]}
    assert told[str(silent.id)].startswith("Its host gateway-1 is silent: its lease ran out 18")
    assert told[str(untaken.id)].startswith("No host has taken it in 18")
    assert told[str(behind.id)] is None


def test_a_running_turn_is_asked_to_stop_and_the_audit_says_by_whom(acme, admin, ada):
    turn = hosted(asked(ada))
    answer = admin.call("POST", f"{TURNS}/{turn.id}/cancel")
    assert answer.status_code == 202, answer.content
    assert answer.json()["state"] == "running"
    assert answer.json()["cancel_requested_at"] is not None
    (entry,) = audited(acme, "turn.cancelled")
    assert entry.user_id is not None
    assert User.objects.get(id=entry.user_id).username.startswith("grace")
    assert (entry.via, entry.target_id) == ("api_key", str(turn.id))
    assert entry.facts["user_id"] == str(ada.user_id)


def test_a_stuck_turn_is_cancelled_at_once(acme, admin, ada):
    for turn in (hosted(asked(ada), silent=True), left(asked(ada))):
        answer = admin.call("POST", f"{TURNS}/{turn.id}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelled"), answer.content
        assert answer.json()["finished_at"] is not None
    assert listed(admin, stuck="true") == []
    assert len(audited(acme, "turn.cancelled")) == 2


def test_what_is_over_stays_as_it_is(acme, admin, ada):
    turn = finished(asked(ada))
    assert admin.call("POST", f"{TURNS}/{turn.id}/cancel").json()["state"] == "completed"
    assert audited(acme, "turn.cancelled") == []
    assert refusal(admin.call("POST", f"{TURNS}/{turn.id}/hand-over"), 409) == "turn_not_stuck"


def test_a_turn_is_answered_again_for_its_user_once_for_each_key(acme, admin, ada):
    turn = finished(asked(ada), TurnState.FAILED, error_code="model_away")
    once = {"Idempotency_Key": "again"}
    first = admin.call("POST", f"{TURNS}/{turn.id}/retry", **once)
    assert first.status_code == 201, first.content
    assert first.json()["user"]["id"] == str(ada.user_id)
    assert (first.json()["state"], first.json()["session_id"]) == ("queued", str(turn.session_id))
    assert admin.call("POST", f"{TURNS}/{turn.id}/retry", **once).json()["id"] == first.json()["id"]
    assert refusal(admin.call("POST", f"{TURNS}/{turn.id}/retry"), 409) == "session_busy"
    (entry,) = audited(acme, "turn.retried")
    assert (entry.target_id, entry.facts["new_turn_id"]) == (str(turn.id), first.json()["id"])
    # The key is the admin's: their user can have used the same one for something else.
    program = Program(key_of(ada))
    mine = program.call("POST", f"/api/v1/turns/{turn.id}/cancel", **once)
    assert mine.status_code == 202


def test_nothing_is_answered_for_who_is_gone_or_only_reads(acme, admin, ada):
    turn = finished(asked(ada))
    with tenant_scope(acme.tenant.id):
        user_of(ada).memberships.update(role=Role.VIEWER)
    assert refusal(admin.call("POST", f"{TURNS}/{turn.id}/retry"), 409) == "user_only_reads"
    User.objects.filter(id=ada.user_id).update(is_active=False)
    assert refusal(admin.call("POST", f"{TURNS}/{turn.id}/retry"), 409) == "user_gone"


def test_a_stuck_turn_is_handed_over_without_waiting_for_the_sweep(acme, admin, ada):
    silent, untaken, running = hosted(asked(ada), silent=True), asked(ada), hosted(asked(ada))
    for turn in (silent, untaken):
        answer = admin.call("POST", f"{TURNS}/{turn.id}/hand-over")
        assert (answer.status_code, answer.json()["state"]) == (202, "queued"), answer.content
    assert now(silent).hosts_lost == 1
    assert refusal(admin.call("POST", f"{TURNS}/{running.id}/hand-over"), 409) == "turn_not_stuck"
    sent = [str(message) for message in valkey.blocking_client().lrange("somaagent", 0, -1)]
    for turn in (silent, untaken):
        assert any(str(turn.id) in message for message in sent)
    assert len(audited(acme, "turn.handed_over")) == 2


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_members_and_viewers_manage_nothing(acme, ada, role):
    turn = hosted(asked(ada))
    member = Program(key_of(person("bob", acme.tenant, role)))
    for path in (TURNS, f"{TURNS}/{turn.id}"):
        assert refusal(member.call("GET", path), 403) == "role_forbidden"
    for what in ("cancel", "retry", "hand-over"):
        code = refusal(member.call("POST", f"{TURNS}/{turn.id}/{what}"), 403)
        assert code in {"role_forbidden", "scope_missing"}
    assert now(turn).cancel_requested_at is None
    assert [entry.action for entry in audited(acme, "turn.cancelled")] == []
