"""An operator finds turns that are stuck and does something about them, after saying so twice."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone

import somaagent.celery  # noqa: F401 messages are sent to this application's broker
from apps.chat.models import Turn, TurnState
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, operator_client, organisation, person, submitted, taken, user_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_message_is_left")]
LIST = "admin:chat_turn_changelist"


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


@pytest.fixture
def operator(acme: Organisation) -> Client:
    return operator_client(acme.owner)


@pytest.fixture
def ada(acme: Organisation) -> Actor:
    return person("ada", acme.tenant)


def asked(actor: Actor) -> Turn:
    with tenant_scope(actor.tenant_id):
        return submitted(actor, "Anything new?").turn


def silent(actor: Actor) -> Turn:
    """A turn whose host is gone."""
    turn = asked(actor)
    with tenant_scope(actor.tenant_id):
        taken(turn, "gateway-1")
        Turn.objects.filter(id=turn.id).update(lease_expires_at=timezone.now() - timedelta(minutes=3))
    return turn


def page(answer: Any) -> str:
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def does(operator: Client, action: str, *turns: Turn, **more: str) -> Any:
    facts = {"action": action, "_selected_action": [str(turn.id) for turn in turns]}
    return operator.post(reverse(LIST), {**facts, **more})


def told(answer: Any) -> list[str]:
    return [str(message) for message in get_messages(answer.wsgi_request)]


def state(turn: Turn) -> str:
    with tenant_scope(turn.tenant_id):
        return Turn.objects.get(id=turn.id).state


def entries(acme: Organisation, action: str) -> list[AuditEntry]:
    with tenant_scope(acme.tenant.id):
        return list(AuditEntry.objects.filter(action=action))


def test_stuck_turns_are_told_apart(operator, ada):
    waits, lost = asked(ada), silent(ada)
    listed = page(operator.get(reverse(LIST), {"stuck": "yes"}))
    assert str(lost.id) in listed
    assert str(waits.id) not in listed
    assert "running, stuck" in listed
    shown = page(operator.get(reverse("admin:chat_turn_change", args=[lost.id])))
    assert "Its host gateway-1 is silent: its lease ran out 18" in shown
    assert re.search(r'href="[^"]*toolcallrecord/\?q=' + str(lost.id), shown)


def test_a_stuck_turn_is_cancelled_once_it_is_confirmed(acme, operator, ada):
    turn = silent(ada)
    question = page(does(operator, "cancel_turns", turn))
    assert "Cancel these turns?" in question
    assert user_of(ada).username in question
    assert state(turn) == TurnState.RUNNING
    assert entries(acme, "turn.cancelled") == []

    answer = does(operator, "cancel_turns", turn, confirmed="yes")
    assert answer.url == reverse(LIST)
    assert told(answer) == ["Asked to stop: 1."]
    assert state(turn) == TurnState.CANCELLED
    (entry,) = entries(acme, "turn.cancelled")
    assert (entry.via, entry.user_id, entry.target_id) == ("admin", acme.owner.user_id, str(turn.id))


def test_what_is_over_already_is_told(acme, operator, ada):
    turn = asked(ada)
    with tenant_scope(acme.tenant.id):
        Turn.objects.filter(id=turn.id).update(state=TurnState.COMPLETED)
    assert told(does(operator, "cancel_turns", turn, confirmed="yes")) == [
        f"Turn {turn.id} (completed): It was over already."
    ]
    assert entries(acme, "turn.cancelled") == []


def test_a_turns_own_page_asks_too(operator, ada):
    turn = silent(ada)
    shown = page(operator.get(reverse("admin:chat_turn_change", args=[turn.id])))
    for name in ("cancel_this", "retry_this", "hand_over_this"):
        link = reverse(f"admin:chat_turn_{name}", args=[turn.id])
        assert link in shown
        question = page(operator.get(link))
        assert str(turn.id) in question
        assert 'name="confirmed"' in question
    assert state(turn) == TurnState.RUNNING
    done = operator.post(reverse("admin:chat_turn_cancel_this", args=[turn.id]), {"confirmed": "yes"})
    assert done.url == reverse("admin:chat_turn_change", args=[turn.id])
    assert told(done) == ["Asked to stop: 1."]
    assert state(turn) == TurnState.CANCELLED
    assert operator.get(reverse("admin:chat_turn_cancel_this", args=["nothing"])).status_code == 404


def test_turns_are_answered_again_and_what_cannot_be_is_told(acme, operator, ada):
    first, busy = silent(ada), asked(ada)
    does(operator, "cancel_turns", first, confirmed="yes")
    answer = does(operator, "retry_turns", first, busy, confirmed="yes")
    assert answer.url == reverse(LIST)
    refused, done = told(answer)[-2:]
    assert refused.startswith(f"Turn {busy.id} (queued): A turn is running in this session")
    assert done == "To be answered again: 1."
    with tenant_scope(acme.tenant.id):
        again = Turn.objects.get(session_id=first.session_id, state=TurnState.QUEUED)
    assert again.user_id == ada.user_id
    assert len(entries(acme, "turn.retried")) == 1


def test_a_stuck_turn_is_handed_over(acme, operator, ada):
    turn = silent(ada)
    assert "Have a worker take" in page(does(operator, "hand_over_turns", turn))
    does(operator, "hand_over_turns", turn, confirmed="yes")
    assert state(turn) == TurnState.QUEUED
    assert len(entries(acme, "turn.handed_over")) == 1


def test_too_many_at_once_are_refused(acme, operator, ada, monkeypatch):
    monkeypatch.setattr("apps.chat.turn_admin.MOST_AT_ONCE", 1)
    first, second = silent(ada), silent(ada)
    answer = does(operator, "cancel_turns", first, second, confirmed="yes")
    assert told(answer) == ["Choose 1 turns at most."]
    assert {state(first), state(second)} == {TurnState.RUNNING}


def test_who_may_not_change_turns_is_offered_nothing(acme, ada):
    turn = silent(ada)
    client = operator_client(acme.owner)
    user = user_of(acme.owner)
    user.is_superuser = False
    user.save()
    user.user_permissions.add(*_may("chat", "view_turn"))
    assert "cancel_turns" not in page(client.get(reverse(LIST)))
    does(client, "cancel_turns", turn, confirmed="yes")
    assert client.get(reverse("admin:chat_turn_cancel_this", args=[turn.id])).status_code == 403
    assert state(turn) == TurnState.RUNNING


def _may(app: str, codename: str) -> list[Any]:
    from django.contrib.auth.models import Permission  # noqa: PLC0415 of this one story

    return list(Permission.objects.filter(content_type__app_label=app, codename=codename))


def test_another_organisations_turn_is_not_there(operator, acme):
    other = organisation("other")
    strange = silent(other.owner)
    assert str(strange.id) not in page(operator.get(reverse(LIST)))
    does(operator, "cancel_turns", strange, confirmed="yes")
    assert state(strange) == TurnState.RUNNING
    assert operator.get(reverse("admin:chat_turn_cancel_this", args=[strange.id])).status_code == 404
