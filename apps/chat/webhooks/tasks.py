"""Celery's part: messages that wake deliveries, and the sweep that finds those that are due."""

from __future__ import annotations

from uuid import UUID

import structlog
from celery import shared_task

from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.selectors import tenant_ids

from . import attempts, delivery, selectors, services

logger = structlog.get_logger(__name__)


@shared_task(name=services.DELIVER)
def webhook_deliver(delivery_id: str, tenant_id: str) -> None:
    """Begin an attempt in this process. The message is done with then; the row knows when another is due."""
    if not run_coroutine(delivery.start(UUID(delivery_id), UUID(tenant_id))):
        logger.info("webhook.no_room", delivery_id=delivery_id)


@shared_task(name="chat.webhooks_sweep")
def webhooks_sweep() -> None:
    """Wake workers for retries whose time has come, and for what a lost message or process left behind."""
    for tenant_id in tenant_ids():
        with tenant_scope(tenant_id):
            overdue = selectors.delivery_ids_overdue()
        services.wake_workers(overdue, tenant_id)


@shared_task(name="chat.webhook_deliveries_forget")
def webhook_deliveries_forget() -> None:
    """Delete what was delivered or given up long ago."""
    for tenant_id in tenant_ids():
        with tenant_scope(tenant_id):
            attempts.deliveries_forget()
