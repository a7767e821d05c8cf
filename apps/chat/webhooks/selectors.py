"""Reads on webhooks. All run inside the tenant's scope."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.utils import timezone

from somaagent.errors import not_found
from somaagent.tenancy.actor import Actor

from .models import DeliveryState, Webhook, WebhookDelivery

if TYPE_CHECKING:
    from django.db.models import QuerySet

# A message was sent for each when it was made; the sweep gives that a moment.
OVERDUE = timedelta(seconds=5)
MOST_DUE = 200


def webhook_list(*, actor: Actor) -> QuerySet[Webhook]:
    return Webhook.objects.filter(user_id=actor.user_id)


def webhook_get(*, actor: Actor, webhook_id: UUID, for_update: bool = False) -> Webhook:
    webhooks = webhook_list(actor=actor).filter(id=webhook_id)
    webhook = (webhooks.select_for_update() if for_update else webhooks).first()
    if webhook is None:
        raise not_found("webhook")
    return webhook


def delivery_list(*, actor: Actor, webhook_id: UUID) -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(webhook=webhook_get(actor=actor, webhook_id=webhook_id))


def delivery_get(*, actor: Actor, webhook_id: UUID, delivery_id: UUID) -> WebhookDelivery:
    deliveries = delivery_list(actor=actor, webhook_id=webhook_id).select_related("webhook")
    delivery = deliveries.filter(id=delivery_id).first()
    if delivery is None:
        raise not_found("delivery")
    return delivery


def delivery_ids_overdue() -> list[UUID]:
    """What should have been attempted by now, the oldest first: a bounded number."""
    overdue = WebhookDelivery.objects.filter(
        state=DeliveryState.PENDING, next_attempt_at__lt=timezone.now() - OVERDUE
    )
    return list(overdue.order_by("next_attempt_at").values_list("id", flat=True)[:MOST_DUE])
