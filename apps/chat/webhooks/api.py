"""``/api/v1/webhooks``: make, change, test and delete them, and see what was delivered."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Router, Status

from somaagent.problems import PROBLEMS, Problem
from somaagent.web.idempotency import IdempotencyKey, idempotency_of, idempotency_of_text
from somaagent.web.pagination import Page, PageQuery, page_of
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from . import selectors, services
from .models import Webhook
from .schemas import DeliveryOut, WebhookIn, WebhookOut, WebhookPatch, WebhookWithSecret

router = Router(tags=["webhooks"])
router.add_decorator(in_tenant_of_actor)


@router.post("", response={201: WebhookWithSecret, 409: Problem, 503: Problem, **PROBLEMS})
def create_webhook(request: HttpRequest, body: WebhookIn, idempotency_key: IdempotencyKey = None) -> Any:
    """Be told at a URL when your turns end. The secret is in this answer and in no other."""
    made = services.webhook_create(
        actor=actor_of(request),
        url=body.url,
        events=body.events,
        idempotency=idempotency_of(idempotency_key, body),
    )
    return Status(201, _with_secret(*made))


@router.get("", response={200: Page[WebhookOut], **PROBLEMS})
def list_webhooks(request: HttpRequest, page: Query[PageQuery]) -> Any:
    """The caller's webhooks, newest first."""
    return page_of(selectors.webhook_list(actor=actor_of(request)), page)


@router.get("/{uuid:webhook_id}", response={200: WebhookOut, **PROBLEMS})
def read_webhook(request: HttpRequest, webhook_id: UUID) -> Any:
    return selectors.webhook_get(actor=actor_of(request), webhook_id=webhook_id)


@router.patch("/{uuid:webhook_id}", response={200: WebhookOut, **PROBLEMS})
def update_webhook(request: HttpRequest, webhook_id: UUID, body: WebhookPatch) -> Any:
    """Change where, what of, and whether. Enabling begins anew after it was disabled."""
    return services.webhook_update(
        actor=actor_of(request),
        webhook_id=webhook_id,
        url=body.url,
        events=body.events,
        enabled=body.enabled,
    )


@router.delete("/{uuid:webhook_id}", response={204: None, **PROBLEMS})
def delete_webhook(request: HttpRequest, webhook_id: UUID) -> Any:
    """Delete it and its deliveries."""
    services.webhook_delete(actor=actor_of(request), webhook_id=webhook_id)
    return Status(204, None)


@router.post("/{uuid:webhook_id}/rotate-secret", response={200: WebhookWithSecret, 503: Problem, **PROBLEMS})
def rotate_secret(request: HttpRequest, webhook_id: UUID) -> Any:
    """A new secret. For 24 hours messages carry a signature of the one before, too."""
    made = services.webhook_rotate_secret(actor=actor_of(request), webhook_id=webhook_id)
    return _with_secret(*made)


@router.post("/{uuid:webhook_id}/test", response={202: DeliveryOut, 409: Problem, **PROBLEMS})
def send_test(request: HttpRequest, webhook_id: UUID, idempotency_key: IdempotencyKey = None) -> Any:
    """Send a message of the type webhook.test. The delivery tells how it went."""
    delivery = services.webhook_test(
        actor=actor_of(request),
        webhook_id=webhook_id,
        idempotency=idempotency_of_text(idempotency_key, f"test {webhook_id}"),
    )
    return Status(202, delivery)


@router.get("/{uuid:webhook_id}/deliveries", response={200: Page[DeliveryOut], **PROBLEMS})
def list_deliveries(request: HttpRequest, webhook_id: UUID, page: Query[PageQuery]) -> Any:
    """What was delivered to it, was given up or waits, newest first; what has ended is kept for 30 days."""
    return page_of(selectors.delivery_list(actor=actor_of(request), webhook_id=webhook_id), page)


@router.post(
    "/{uuid:webhook_id}/deliveries/{uuid:delivery_id}/redeliver",
    response={202: DeliveryOut, 409: Problem, **PROBLEMS},
)
def redeliver(request: HttpRequest, webhook_id: UUID, delivery_id: UUID) -> Any:
    """Deliver it again, under the same id."""
    delivery = services.delivery_repeat(
        actor=actor_of(request), webhook_id=webhook_id, delivery_id=delivery_id
    )
    return Status(202, delivery)


def _with_secret(webhook: Webhook, secret: str) -> dict[str, Any]:
    return WebhookOut.from_orm(webhook).model_dump() | {"secret": secret}
