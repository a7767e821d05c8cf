"""Webhooks, and what is or was to be delivered to them."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from somaagent.tenancy.fields import IdempotentCreate, TenantOwned

LONGEST_URL = 2000


class WebhookEvent(models.TextChoices):
    """What a webhook can ask to be told of."""

    TURN_COMPLETED = "turn.completed"
    TURN_FAILED = "turn.failed"
    TURN_CANCELLED = "turn.cancelled"


TEST_EVENT = "webhook.test"


def every_event() -> list[str]:
    return [event.value for event in WebhookEvent]


class DisabledReason(models.TextChoices):
    """Why the platform disabled a webhook. Empty: it did not."""

    FAILING = "failing", "No delivery succeeded for days"
    GONE = "gone", "Its server said 410 Gone"


class Webhook(TenantOwned, IdempotentCreate):
    """Where a user is told how their turns ended.

    ``encrypted_secret`` is sealed (``sealing``); ``previous_secrets`` are ``{"sealed", "until"}``, newest
    first: what was signed with before a rotation, and until when (ISO 8601) it still is.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    url = models.CharField("URL", max_length=LONGEST_URL)
    events = ArrayField(models.CharField(max_length=32, choices=WebhookEvent.choices), default=every_event)
    enabled = models.BooleanField(default=True)
    encrypted_secret = models.TextField(editable=False)
    previous_secrets = models.JSONField(default=list, editable=False)
    failing_since = models.DateTimeField(
        null=True, editable=False, help_text="The first failure since the last success."
    )
    disabled_at = models.DateTimeField(null=True, editable=False)
    disabled_reason = models.CharField(
        max_length=16, choices=DisabledReason.choices, blank=True, editable=False
    )

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["tenant", "user", "-id"], name="webhook_of_user")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "user", "idempotency_key"], name="webhook_created_once"
            ),
            models.CheckConstraint(
                condition=models.Q(enabled=False) | models.Q(disabled_at=None), name="webhook_enabled_or_not"
            ),
        ]

    def __str__(self) -> str:
        return self.url


class DeliveryState(models.TextChoices):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookDelivery(TenantOwned, IdempotentCreate):
    """One message to one webhook; its id is the message's. It goes with its turn, whose text it repeats.

    A pending one is due at ``next_attempt_at``. Who attempts it moves that on beyond the attempt's longest
    time first: by that, nobody else attempts it meanwhile, and somebody does if the process is gone.
    ``payload`` is written by the first attempt and is the same in all.
    """

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    turn = models.ForeignKey("chat.Turn", on_delete=models.CASCADE, null=True, related_name="+")
    event = models.CharField(max_length=32)
    payload = models.TextField(blank=True)
    state = models.CharField(max_length=16, choices=DeliveryState.choices, default=DeliveryState.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, default=timezone.now)
    last_attempt_at = models.DateTimeField(null=True)
    last_status = models.PositiveSmallIntegerField(null=True, help_text="The status that its server gave.")
    last_error = models.CharField(max_length=64, blank=True)
    last_seconds = models.FloatField(null=True, help_text="How long the last attempt took.")

    class Meta:
        ordering: ClassVar = ["-id"]
        verbose_name_plural = "webhook deliveries"
        indexes: ClassVar = [
            models.Index(fields=["webhook", "-id"], name="delivery_of_webhook"),
            models.Index(
                fields=["next_attempt_at"],
                condition=models.Q(state=DeliveryState.PENDING),
                name="delivery_due",
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["webhook", "turn", "event"], name="delivery_once_a_turn"),
            models.UniqueConstraint(fields=["webhook", "idempotency_key"], name="delivery_tested_once"),
            models.CheckConstraint(
                condition=models.Q(state=DeliveryState.PENDING, next_attempt_at__isnull=False)
                | (~models.Q(state=DeliveryState.PENDING) & models.Q(next_attempt_at=None)),
                name="delivery_pending_is_due",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} ({self.state})"
