"""Writes of a webhook's user, and what a turn's end leaves to deliver. All run inside the tenant's scope."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from celery import current_app
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from apps.chat.ended import turns_ended
from somaagent.errors import Kind, SomaError
from somaagent.outbound.addresses import allowed_url
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.entries import audit_entry_create, differences, who
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.scripts import performed

from . import sealing, selectors, signing
from .models import TEST_EVENT, DeliveryState, Webhook, WebhookDelivery, WebhookEvent

DELIVER = "chat.webhook_deliver"
MOST_WEBHOOKS = 20

logger = structlog.get_logger(__name__)


def webhook_create(
    *, actor: Actor, url: str, events: Sequence[str], idempotency: Idempotency | None = None
) -> tuple[Webhook, str]:
    """A new webhook and its secret. The secret can be had only here and by a rotation."""
    mine = selectors.webhook_list(actor=actor)
    if idempotency and (existing := idempotency.find(mine)):
        return existing, sealing.current(existing)
    if mine.count() >= MOST_WEBHOOKS:
        raise SomaError(
            Kind.CONFLICT, "webhooks_too_many", f"You have {MOST_WEBHOOKS} webhooks: delete one first."
        )
    _check_url(url)
    secret = signing.new_secret()
    webhook = Webhook(
        tenant_id=actor.tenant_id,
        user_id=actor.user_id,
        url=url,
        events=_in_order(events),
        **(idempotency.columns() if idempotency else {}),
    )
    sealing.put(webhook, secret)
    try:
        with transaction.atomic():
            webhook.save(force_insert=True)
            _tell(actor, "created", webhook.id, _told(webhook))
    except IntegrityError:
        # Sent twice at the same moment: the other one was first.
        if idempotency and (existing := idempotency.find(mine.all())):
            return existing, sealing.current(existing)
        raise
    return webhook, secret


def webhook_update(
    *,
    actor: Actor,
    webhook_id: UUID,
    url: str | None = None,
    events: Sequence[str] | None = None,
    enabled: bool | None = None,
) -> Webhook:
    """Changes what is given. Enabling forgets why it was disabled; disabling gives up what is pending."""
    webhook = selectors.webhook_get(actor=actor, webhook_id=webhook_id, for_update=True)
    before = _told(webhook)
    if url is not None:
        _check_url(url)
        webhook.url = url
    if events is not None:
        webhook.events = _in_order(events)
    if enabled is not None:
        webhook.enabled = enabled
    if enabled:
        webhook.disabled_at, webhook.disabled_reason, webhook.failing_since = None, "", None
    webhook.save()
    if not webhook.enabled:
        pending_give_up(webhook_id=webhook.id)
    if changed := differences(before, _told(webhook)):
        _tell(actor, "changed", webhook.id, changed)
    return webhook


def webhook_delete(*, actor: Actor, webhook_id: UUID) -> None:
    """With all that was delivered to it or waits."""
    webhook = selectors.webhook_get(actor=actor, webhook_id=webhook_id)
    facts = _told(webhook)
    webhook.delete()
    _tell(actor, "deleted", webhook_id, facts)


def webhook_rotate_secret(*, actor: Actor, webhook_id: UUID) -> tuple[Webhook, str]:
    """A new secret. For a day, what is sent is signed with those before it as well."""
    webhook = selectors.webhook_get(actor=actor, webhook_id=webhook_id, for_update=True)
    secret = signing.new_secret()
    sealing.replace(webhook, secret)
    webhook.save(update_fields=["encrypted_secret", "previous_secrets"])
    _tell(actor, "secret_rotated", webhook.id, {})
    return webhook, secret


def webhook_test(
    *, actor: Actor, webhook_id: UUID, idempotency: Idempotency | None = None
) -> WebhookDelivery:
    """Sends a message of the type ``webhook.test``, whatever events the webhook asks for."""
    webhook = selectors.webhook_get(actor=actor, webhook_id=webhook_id, for_update=True)
    if idempotency and (existing := idempotency.find(webhook.deliveries.all())):
        return existing
    _refuse_disabled(webhook)
    delivery = WebhookDelivery.objects.create(
        tenant_id=actor.tenant_id,
        webhook=webhook,
        event=TEST_EVENT,
        **(idempotency.columns() if idempotency else {}),
    )
    _send([delivery.id], actor.tenant_id)
    return delivery


def delivery_repeat(*, actor: Actor, webhook_id: UUID, delivery_id: UUID) -> WebhookDelivery:
    """Delivers again what was delivered or given up, with all its attempts; what is pending, now."""
    delivery = selectors.delivery_get(actor=actor, webhook_id=webhook_id, delivery_id=delivery_id)
    _refuse_disabled(delivery.webhook)
    ended = WebhookDelivery.objects.filter(id=delivery.id).exclude(state=DeliveryState.PENDING)
    if ended.update(state=DeliveryState.PENDING, attempts=0, next_attempt_at=timezone.now()):
        _send([delivery.id], actor.tenant_id)
    delivery.refresh_from_db()
    return delivery


def deliveries_create(*, turn_ids: Iterable[UUID]) -> None:
    """For turns that have just ended, in the transaction that ended them: what their users want to be told.

    The ORM's way to ``turns_ended``; workers are woken after the commit.
    """
    found = list(turn_ids)
    made = performed(turns_ended(found)) if found else []
    if made:
        _send([delivery_id for delivery_id, _ in made], made[0][1])


def pending_give_up(*, webhook_id: UUID) -> None:
    """Nothing is attempted for a webhook that is disabled. It can be repeated by hand."""
    WebhookDelivery.objects.filter(webhook_id=webhook_id, state=DeliveryState.PENDING).update(
        state=DeliveryState.FAILED, next_attempt_at=None, last_error="webhook_disabled"
    )


def _send(delivery_ids: Sequence[UUID], tenant_id: UUID) -> None:
    # Robust: the rows are there by then.
    transaction.on_commit(lambda: wake_workers(delivery_ids, tenant_id), robust=True)


def wake_workers(delivery_ids: Sequence[UUID], tenant_id: UUID) -> None:
    """Wake workers for deliveries that are due, once. Where the broker is away, the sweep finds them."""
    try:
        for delivery_id in delivery_ids:
            current_app.send_task(DELIVER, args=[str(delivery_id), str(tenant_id)], retry=False)
    except OperationalError as error:
        logger.warning("webhook.worker_not_woken", reason=str(error), deliveries=len(delivery_ids))


def _told(webhook: Webhook) -> dict[str, Any]:
    """What the audit says of it. An address may hold a secret: its host, and whether it is another."""
    return {
        "host": urlsplit(webhook.url).hostname,
        "url_sha256": hashlib.sha256(webhook.url.encode()).hexdigest(),
        "events": list(webhook.events),
        "enabled": webhook.enabled,
    }


def _tell(actor: Actor, what: str, webhook_id: UUID, facts: dict[str, Any]) -> None:
    audit_entry_create(
        by=who(actor), action=f"webhook.{what}", target_type="webhook", target_id=webhook_id, facts=facts
    )


def _check_url(url: str) -> None:
    allowed_url(url, settings.OUTBOUND_ALLOWED_NETWORKS, field="body.url")


def _in_order(events: Sequence[str]) -> list[str]:
    return [event.value for event in WebhookEvent if event.value in events]


def _refuse_disabled(webhook: Webhook) -> None:
    if not webhook.enabled:
        raise SomaError(Kind.CONFLICT, "webhook_disabled", "This webhook is disabled: enable it first.")
