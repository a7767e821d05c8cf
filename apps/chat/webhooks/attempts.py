"""Writes of a delivery's attempts: take, keep, end; and what becomes of a webhook that never answers.

All run inside the tenant's scope. An attempt is known by its number: what a process that was too slow says of
an older one is not heard.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from uuid import UUID

import structlog
from django.db.models import F
from django.utils import timezone

from somaagent.observability import metrics

from .models import DeliveryState, DisabledReason, Webhook, WebhookDelivery
from .services import pending_give_up

logger = structlog.get_logger(__name__)

ATTEMPT_SECONDS = 15.0
# Longer than any attempt with all around it: after this, a process that took a delivery is gone.
LEASE = timedelta(seconds=60)
# Pauses of 10 s, 40 s, 2.7 min, 11 min, 43 min, 2.8 h, then 6 h: ten attempts in about 22 hours.
MOST_ATTEMPTS = 10
FIRST_PAUSE = timedelta(seconds=10)
GROWTH = 4
LONGEST_PAUSE = timedelta(hours=6)
JITTER = 0.2
DISABLED_AFTER = timedelta(days=3)
KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claimed delivery: ``number`` counts from 1."""

    delivery: WebhookDelivery
    webhook: Webhook
    number: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to: the status, if there was an answer; else why there was none."""

    status: int | None
    error: str
    seconds: float

    @property
    def delivered(self) -> bool:
        return self.status is not None and HTTPStatus(200) <= self.status < HTTPStatus(300)


def attempt_claim(*, delivery_id: UUID) -> Attempt | None:
    """Take a delivery that is due, of an enabled webhook. None when another process was first."""
    now = timezone.now()
    # No join: it would put these conditions into a subquery, which is not looked at again when the row that
    # two of them wait for has changed.
    due = WebhookDelivery.objects.filter(
        id=delivery_id,
        state=DeliveryState.PENDING,
        next_attempt_at__lte=now,
        webhook__in=Webhook.objects.filter(enabled=True),
    )
    if not due.update(attempts=F("attempts") + 1, next_attempt_at=now + LEASE, last_attempt_at=now):
        return None
    delivery = WebhookDelivery.objects.select_related("webhook", "turn__output_message").get(id=delivery_id)
    return Attempt(delivery, delivery.webhook, delivery.attempts)


def attempt_end(*, attempt: Attempt, outcome: Outcome) -> None:
    """Keep what an attempt came to, and decide what comes next."""
    now, facts = timezone.now(), _facts(outcome)
    if outcome.delivered:
        facts |= {"state": DeliveryState.DELIVERED, "next_attempt_at": None}
    elif attempt.number >= MOST_ATTEMPTS:
        facts |= {"state": DeliveryState.FAILED, "next_attempt_at": None}
    else:
        facts["next_attempt_at"] = now + pause_after(attempt.number)
    mine = WebhookDelivery.objects.filter(
        id=attempt.delivery.id, state=DeliveryState.PENDING, attempts=attempt.number
    )
    if not mine.update(**facts):
        logger.info("webhook.attempt_late", delivery_id=str(attempt.delivery.id), attempt=attempt.number)
        return
    result = "delivered" if outcome.delivered else "failed" if "state" in facts else "retried"
    metrics.WEBHOOK_DELIVERIES.labels(outcome=result).inc()
    metrics.WEBHOOK_SECONDS.observe(outcome.seconds)
    if outcome.delivered:
        Webhook.objects.filter(id=attempt.webhook.id, failing_since__isnull=False).update(failing_since=None)
    else:
        _blame(attempt.webhook.id, outcome)


def _facts(outcome: Outcome) -> dict[str, object]:
    return {
        "last_status": outcome.status,
        "last_error": outcome.error,
        "last_seconds": round(outcome.seconds, 3),
    }


def pause_after(number: int) -> timedelta:
    """From attempt ``number`` to the next: exponential, bounded, and a fifth more or less by chance."""
    pause = min(FIRST_PAUSE * int(GROWTH ** (number - 1)), LONGEST_PAUSE)
    return pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  spreads load, keeps no secret


def _blame(webhook_id: UUID, outcome: Outcome) -> None:
    """A failure. After ``DISABLED_AFTER`` without a success, or with 410, it was the last."""
    now = timezone.now()
    Webhook.objects.filter(id=webhook_id, failing_since=None).update(failing_since=now)
    failing = Webhook.objects.filter(id=webhook_id, enabled=True)
    reason = DisabledReason.GONE
    if outcome.status != HTTPStatus.GONE:
        failing, reason = failing.filter(failing_since__lt=now - DISABLED_AFTER), DisabledReason.FAILING
    if failing.update(enabled=False, disabled_at=now, disabled_reason=reason):
        pending_give_up(webhook_id=webhook_id)
        metrics.WEBHOOKS_DISABLED.labels(reason=reason.value).inc()
        logger.warning("webhook.disabled", webhook_id=str(webhook_id), reason=reason.value)


def payload_keep(*, attempt: Attempt, payload: str) -> None:
    """The message as the first attempt wrote it: all others send the same."""
    WebhookDelivery.objects.filter(id=attempt.delivery.id, payload="").update(payload=payload)


def deliveries_forget() -> int:
    """Deletes what ended longer ago than ``KEPT``. Gives how many."""
    old = WebhookDelivery.objects.filter(created_at__lt=timezone.now() - KEPT).exclude(
        state=DeliveryState.PENDING
    )
    return old.delete()[0]
