"""From the end of a turn to a user's server: signed, again after a failure, by one process."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from prometheus_client import REGISTRY
from standardwebhooks.webhooks import WebhookVerificationError

from apps.chat import host, hosting
from apps.chat import services as chat
from apps.chat import tasks as chat_tasks
from apps.chat.models import OnBusy, Turn, TurnState
from apps.chat.webhooks import attempts, selectors, services, tasks
from apps.chat.webhooks.attempts import MOST_ATTEMPTS, Outcome
from apps.chat.webhooks.models import DeliveryState, Webhook, WebhookDelivery
from somaagent import valkey
from somaagent.agent.messages import Usage
from somaagent.background import run_coroutine
from somaagent.errors import SomaError
from somaagent.tenancy.models import User
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import performed
from tests import model_server
from tests.factories import organisation, person, submitted, taken
from tests.integration.webhooks.conftest import Story

pytestmark = pytest.mark.django_db(transaction=True)


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("soma_webhook_deliveries_total", {"outcome": outcome}) or 0.0


def test_a_turn_that_ends_is_told_with_a_signature(story, receiver):
    webhook, secret = story.listen(receiver.url)
    before = counted("delivered")
    turn = story.turn()

    [delivered] = story.deliver()

    [came] = receiver.came
    message = came.verified(secret)
    assert (message["type"], message["data"]["id"]) == ("turn.completed", str(turn.id))
    assert datetime.fromisoformat(message["timestamp"]).date() == (turn.finished_at.date())
    assert message["data"] == {
        "id": str(turn.id),
        "session_id": str(turn.session_id),
        "input_message_id": str(turn.input_message_id),
        "output_message_id": str(turn.output_message_id),
        "state": "completed",
        "output": "Paris.",
        "usage": {
            "input_tokens": 5,
            "cached_tokens": 0,
            "output_tokens": 2,
            "reasoning_tokens": 0,
            "cost": None,
        },
        "error": None,
        "created_at": message["data"]["created_at"],
        "started_at": message["data"]["started_at"],
        "finished_at": message["data"]["finished_at"],
    }
    assert came.headers["webhook-id"] == str(delivered.id)
    assert came.headers["content-type"] == "application/json"
    assert (delivered.state, delivered.attempts, delivered.last_status) == ("delivered", 1, 200)
    assert delivered.next_attempt_at is None
    assert counted("delivered") - before == 1
    with pytest.raises(WebhookVerificationError):
        came.verified(story.listen("https://example.org/")[1])
    assert secret not in webhook.encrypted_secret


def test_a_webhook_is_told_what_it_asks_for_however_the_turn_ends(story, receiver):
    story.listen(receiver.url, "turn.failed", "turn.cancelled")
    story.turn()
    failed = story.turn(TurnState.FAILED, error_code="model_timeout", error_message="No answer came.")
    with tenant_scope(story.actor.tenant_id):
        cancelled = submitted(story.actor, "Never mind").turn
        performed(chat.turn_cancel(actor=story.actor, turn_id=cancelled.id))
        performed(chat.turn_cancel(actor=story.actor, turn_id=cancelled.id))

    story.deliver()

    told = {came.message["data"]["id"]: came.message for came in receiver.came}
    assert {turn_id: message["type"] for turn_id, message in told.items()} == {
        str(failed.id): "turn.failed",
        str(cancelled.id): "turn.cancelled",
    }
    assert told[str(failed.id)]["data"]["error"]["code"] == "model_timeout"


def test_turns_that_the_sweep_ends_are_told_too(story, receiver):
    story.listen(receiver.url)
    with tenant_scope(story.actor.tenant_id):
        for facts in ({"hosts_lost": hosting.MOST_HOSTS_LOST - 1}, {"cancel_requested_at": timezone.now()}):
            turn = submitted(story.actor, "Hello?").turn
            taken(turn, "a host that died")
            past = timezone.now() - timedelta(minutes=1)
            Turn.objects.filter(id=turn.id).update(lease_expires_at=past, **facts)
        hosting.turns_sweep()
        hosting.turns_sweep()
    story.deliver()
    assert sorted(came.message["type"] for came in receiver.came) == ["turn.cancelled", "turn.failed"]


def test_turns_that_make_room_for_another_are_told_too(story, receiver):
    story.listen(receiver.url)
    with tenant_scope(story.actor.tenant_id):
        running = submitted(story.actor, "First").turn
        work = taken(running)
        waiting = submitted(story.actor, "Second", session_id=running.session_id, on_busy=OnBusy.QUEUE).turn
        submitted(story.actor, "Third", session_id=running.session_id, on_busy=OnBusy.INTERRUPT)
        outcome = hosting.Outcome(TurnState.CANCELLED, "", Usage(1, 0, 1, 0), last_event=3)
        performed(hosting.turn_finish(work=work, outcome=outcome))
    story.deliver()
    told = {came.message["data"]["id"]: came.message["type"] for came in receiver.came}
    assert told == {str(running.id): "turn.cancelled", str(waiting.id): "turn.cancelled"}


def test_a_turn_that_a_worker_answered_wakes_another_for_its_webhook(receiver):
    with model_server.process() as url:
        story = Story(organisation("acme", model_url=f"{url}/v1").owner)
        _, secret = story.listen(receiver.url)
        with tenant_scope(story.actor.tenant_id):
            turn = submitted(story.actor, "say: Well done").turn
        broker = valkey.blocking_client()
        before = broker.llen("somaagent")
        chat_tasks.turn_run(str(turn.id), str(story.actor.tenant_id))
        run_coroutine(host.idle())
        assert broker.llen("somaagent") == before + 1
    [made] = story.deliveries()
    message: Any = broker.lindex("somaagent", 0)
    assert str(made.id).encode() in base64.b64decode(json.loads(message)["body"])
    story.deliver()
    assert receiver.came[0].verified(secret)["data"]["output"] == "Well done"


def test_nobody_else_is_told(story, acme, receiver):
    story.listen(receiver.url)
    colleague = Story(person("colleague", acme.tenant))
    colleague.turn()
    Story(organisation("other").owner).turn()
    assert story.deliveries() == colleague.deliveries() == []


def test_the_delivery_is_made_with_the_turn_s_end_or_not_at_all(story, receiver):
    story.listen(receiver.url)
    with tenant_scope(story.actor.tenant_id):
        work = taken(submitted(story.actor, "Hello").turn)
    outcome = hosting.Outcome(TurnState.COMPLETED, "Hi.", Usage(1, 0, 1, 0), last_event=3)
    with tenant_scope(story.actor.tenant_id):
        performed(hosting.turn_finish(work=work, outcome=outcome))
        transaction.set_rollback(True)
    assert story.deliveries() == []
    with tenant_scope(story.actor.tenant_id):
        for _ in range(2):
            performed(hosting.turn_finish(work=work, outcome=outcome))
    assert len(story.deliveries()) == 1


def test_a_failure_is_tried_again_later_with_the_same_message(story, receiver):
    _, secret = story.listen(receiver.url)
    turn = story.turn()
    receiver.will(500, "http://example.org/elsewhere", 204)

    [once] = story.deliver()
    assert (once.state, once.attempts, once.last_status) == ("pending", 1, 500)
    assert once.next_attempt_at > timezone.now() + timedelta(seconds=5)
    story.deliver()
    assert len(receiver.came) == 1, "it is not due yet"
    [twice] = story.deliver(in_time=True)
    assert (twice.state, twice.last_status) == ("pending", 302), "a redirect is not followed"
    assert story.webhook().failing_since is not None
    with tenant_scope(story.actor.tenant_id):
        Turn.objects.filter(id=turn.id).update(error_message="changed since")
    [thrice] = story.deliver(in_time=True)

    assert (thrice.state, thrice.attempts, thrice.last_status) == ("delivered", 3, 204)
    assert story.webhook().failing_since is None
    assert len({(came.body, came.headers["webhook-id"]) for came in receiver.came}) == 1
    for came in receiver.came:
        came.verified(secret)


def test_a_server_that_is_slow_or_away_is_tried_again(story, receiver, monkeypatch):
    monkeypatch.setattr(attempts, "ATTEMPT_SECONDS", 0.2)
    story.listen(receiver.url)
    story.turn()
    receiver.will(1.0)
    [slow] = story.deliver()
    assert (slow.state, slow.last_status, slow.last_error) == ("pending", None, "host_timeout")
    story.pass_time(url="http://no-such-host.invalid/")
    [away] = story.deliver()
    assert (away.state, away.last_error) == ("pending", "host_unreachable")
    story.pass_time(url=receiver.url)
    assert story.deliver()[0].state == DeliveryState.DELIVERED


def test_after_the_last_attempt_it_is_given_up_and_can_be_repeated_by_hand(story, receiver):
    webhook, _ = story.listen(receiver.url)
    story.turn()
    receiver.will(*[500] * MOST_ATTEMPTS)
    for _ in range(MOST_ATTEMPTS + 2):
        story.deliver(in_time=True)
    [given_up] = story.deliveries()
    assert (given_up.state, given_up.attempts) == ("failed", MOST_ATTEMPTS)
    assert len(receiver.came) == MOST_ATTEMPTS

    with tenant_scope(story.actor.tenant_id):
        services.delivery_repeat(actor=story.actor, webhook_id=webhook.id, delivery_id=given_up.id)
    [again] = story.deliver()
    assert (again.state, again.attempts) == ("delivered", 1)
    assert receiver.came[-1].headers["webhook-id"] == receiver.came[0].headers["webhook-id"]


def test_the_pauses_grow_to_about_a_day_in_all():
    pauses = [attempts.pause_after(number) for number in range(1, MOST_ATTEMPTS)]
    assert pauses[0] < pauses[2] < pauses[4] < pauses[6]
    assert timedelta(hours=15) < sum(pauses, timedelta()) < timedelta(hours=30)
    assert attempts.pause_after(5) != attempts.pause_after(5), "not all at the same moment"


def test_of_many_that_are_woken_one_delivers(story, receiver):
    story.listen(receiver.url)
    for _ in range(5):
        story.turn()
    waiting = [each.id for each in story.deliveries()]

    def claim(delivery_id):
        try:
            with tenant_scope(story.actor.tenant_id):
                return attempts.attempt_claim(delivery_id=delivery_id)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(claim, waiting * 8))
    claimed = [attempt.delivery.id for attempt in claims if attempt]
    assert sorted(claimed) == sorted(waiting)


def test_what_a_killed_worker_had_taken_is_delivered_after_its_lease(story, receiver):
    story.listen(receiver.url)
    story.turn()
    [waiting] = story.deliveries()
    with tenant_scope(story.actor.tenant_id):
        lost = attempts.attempt_claim(delivery_id=waiting.id)
        assert lost is not None
        assert selectors.delivery_ids_overdue() == []
    story.deliver()
    assert receiver.came == [], "its lease runs"

    story.pass_time()
    with tenant_scope(story.actor.tenant_id):
        assert selectors.delivery_ids_overdue() == [waiting.id]
    tasks.webhooks_sweep()
    story.wake(waiting.id, waiting.id)

    assert len(receiver.came) == 1
    with tenant_scope(story.actor.tenant_id):
        attempts.attempt_end(attempt=lost, outcome=Outcome(500, "", 1.0))
    [delivered] = story.deliveries()
    assert (delivered.state, delivered.attempts, delivered.last_status) == ("delivered", 2, 200)


def test_a_webhook_that_fails_for_days_is_disabled_and_says_so(story, receiver):
    webhook, _ = story.listen(receiver.url)
    story.turn()
    story.turn()
    receiver.will(500, 500, 500)
    story.deliver()
    assert story.webhook().enabled
    story.pass_time(failing_since=timezone.now() - timedelta(days=3, hours=1))
    story.deliver()

    disabled = story.webhook()
    assert (disabled.enabled, disabled.disabled_reason) == (False, "failing")
    assert disabled.disabled_at is not None
    assert {each.state for each in story.deliveries()} == {"failed"}
    story.turn()
    assert len(story.deliveries()) == 2, "nothing is kept for it"

    with tenant_scope(story.actor.tenant_id):
        enabled = services.webhook_update(actor=story.actor, webhook_id=webhook.id, enabled=True)
    assert (enabled.disabled_at, enabled.disabled_reason, enabled.failing_since) == (None, "", None)
    story.turn()
    receiver.answers.clear()
    assert story.deliver()[-1].state == DeliveryState.DELIVERED


def test_a_server_that_says_gone_is_not_asked_again(story, receiver):
    story.listen(receiver.url)
    story.turn()
    receiver.will(410)
    [gone] = story.deliver()
    assert (gone.state, gone.last_status) == ("failed", 410)
    assert (story.webhook().enabled, story.webhook().disabled_reason) == (False, "gone")


def test_a_private_address_is_refused_when_it_is_given_and_when_it_is_delivered_to(story, receiver):
    for url in (
        "http://10.0.0.1/hook",
        "http://169.254.169.254/latest/meta-data",
        f"http://[::1]:{receiver.port}/hook",
        "http://2130706433/",
        "ftp://example.org/",
    ):
        with pytest.raises(SomaError) as refused:
            story.listen(url)
        assert refused.value.field == "body.url"
    story.listen(receiver.url)
    story.turn()
    story.pass_time(url=f"http://[::1]:{receiver.port}/hook")
    [refused_later] = story.deliver()
    assert (refused_later.state, refused_later.last_error) == ("pending", "url_not_public")
    assert receiver.came == []


def test_after_a_rotation_both_secrets_verify_for_a_day(story, receiver):
    webhook, first = story.listen(receiver.url)

    def rotate() -> str:
        with tenant_scope(story.actor.tenant_id):
            return services.webhook_rotate_secret(actor=story.actor, webhook_id=webhook.id)[1]

    second = rotate()
    story.turn()
    story.deliver()
    for secret in (first, second):
        receiver.came[-1].verified(secret)
    with tenant_scope(story.actor.tenant_id):
        stored = Webhook.objects.get(id=webhook.id)
        yesterday = (timezone.now() - timedelta(minutes=1)).isoformat()
        stored.previous_secrets = [{**each, "until": yesterday} for each in stored.previous_secrets]
        stored.save()
    story.turn()
    story.deliver()
    receiver.came[-1].verified(second)
    with pytest.raises(WebhookVerificationError):
        receiver.came[-1].verified(first)
    for _ in range(5):
        rotate()
    assert len(story.webhook().previous_secrets) == 3


def test_a_secret_that_does_not_open_fails_the_attempt_and_says_so(story, receiver):
    story.listen(receiver.url)
    story.turn()
    story.pass_time(encrypted_secret="soma1.AAAA.AAAA")
    [failed] = story.deliver()
    assert (failed.state, failed.last_error) == ("pending", "secret_unreadable")
    assert receiver.came == []


def test_what_ended_long_ago_is_forgotten(story, receiver):
    story.listen(receiver.url)
    story.turn()
    story.deliver()
    story.turn()
    with tenant_scope(story.actor.tenant_id):
        WebhookDelivery.objects.update(created_at=timezone.now() - timedelta(days=31))
    tasks.webhook_deliveries_forget()
    assert [each.state for each in story.deliveries()] == ["pending"]


def test_it_goes_with_its_turn_and_its_user(story, receiver):
    """(With its tenant too: ``tests/integration/portable/test_erasure.py``.)"""
    story.listen(receiver.url)
    turn = story.turn()
    story.turn()
    with tenant_scope(story.actor.tenant_id):
        turn.session.delete()
    assert len(story.deliveries()) == 1
    with tenant_scope(story.actor.tenant_id):
        User.objects.get(id=story.actor.user_id).delete()
    assert story.deliveries() == []
    with tenant_scope(story.actor.tenant_id):
        assert not Webhook.objects.exists()
