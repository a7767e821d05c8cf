"""Delivering: many at once on a process's event loop, a few of each tenant, each attempt by one process.

A message only wakes; the row decides. What this process has no room for, or loses by its end, is found by the
next sweep.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

import orjson
import structlog
from django.conf import settings
from django.utils import timezone

from apps.chat.schemas import TurnOut, told
from apps.chat.selectors import TurnRow
from somaagent.errors import SomaError
from somaagent.outbound.client import outbound
from somaagent.tenancy.scope import in_tenant

from . import attempts, sealing, signing
from .attempts import Attempt, Outcome

logger = structlog.get_logger(__name__)

MOST_AT_ONCE = 100
MOST_OF_A_TENANT = 10
_MOST_ANSWER_BYTES = 1024

_running: set[asyncio.Task[None]] = set()
_of_tenant: Counter[UUID] = Counter()


async def start(delivery_id: UUID, tenant_id: UUID) -> bool:
    """Begin to deliver on this event loop. False where it has no room: somebody looks again."""
    if len(_running) >= MOST_AT_ONCE or _of_tenant[tenant_id] >= MOST_OF_A_TENANT:
        return False
    task = asyncio.create_task(deliver(delivery_id, tenant_id), name=f"webhook {delivery_id}")
    _running.add(task)
    _of_tenant[tenant_id] += 1

    def ended(_: asyncio.Task[None]) -> None:
        _running.discard(task)
        _of_tenant[tenant_id] -= 1
        if not _of_tenant[tenant_id]:
            del _of_tenant[tenant_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            # The row says that an attempt was begun; when its lease is over, the sweep finds it.
            logger.error("webhook.attempt_lost", task=task.get_name(), exc_info=error)

    task.add_done_callback(ended)
    return True


async def idle() -> None:
    """Returns when this process delivers nothing."""
    while _running:
        await asyncio.wait(_running)


async def deliver(delivery_id: UUID, tenant_id: UUID) -> None:
    """One attempt, if the delivery is due and nobody else makes it."""
    claimed = await in_tenant(tenant_id, _claim, delivery_id)
    if claimed is None:
        return
    attempt, payload = claimed
    outcome = await _send(attempt, payload.encode())
    await in_tenant(tenant_id, attempts.attempt_end, attempt=attempt, outcome=outcome)
    logger.info(
        "webhook.attempted",
        webhook_id=str(attempt.webhook.id),
        delivery_id=str(delivery_id),
        attempt=attempt.number,
        status=outcome.status,
        error=outcome.error,
    )


def _claim(delivery_id: UUID) -> tuple[Attempt, str] | None:
    attempt = attempts.attempt_claim(delivery_id=delivery_id)
    if attempt is None:
        return None
    payload = attempt.delivery.payload or payload_of(attempt)
    if not attempt.delivery.payload:
        attempts.payload_keep(attempt=attempt, payload=payload)
    return attempt, payload


def payload_of(attempt: Attempt) -> str:
    """Standard Webhooks, "Payload structure": ``type``, ``timestamp``, and the turn as the API shows it."""
    turn = attempt.delivery.turn
    if turn is None:
        at, data = attempt.delivery.created_at, {"webhook_id": str(attempt.webhook.id)}
    else:
        at, data = (
            turn.finished_at or timezone.now(),
            TurnOut.model_validate(told(TurnRow.of(turn))).model_dump(mode="json"),
        )
    stamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps({"type": attempt.delivery.event, "timestamp": stamp, "data": data}).decode()


async def _send(attempt: Attempt, body: bytes) -> Outcome:
    begun = time.monotonic()
    try:
        with_secrets = await asyncio.to_thread(sealing.opened, attempt.webhook)
        headers = signing.headers(
            message_id=str(attempt.delivery.id),
            at=datetime.now(UTC),
            body=body,
            with_secrets=with_secrets,
        )
        answer = await outbound().fetch(
            "POST",
            attempt.webhook.url,
            headers=headers,
            body=body,
            seconds=attempts.ATTEMPT_SECONDS,
            most_bytes=_MOST_ANSWER_BYTES,
        )
    except SomaError as error:
        return Outcome(None, error.code, time.monotonic() - begun)
    except settings.SECRETS.Error as error:
        logger.warning("webhook.secret_unreadable", webhook_id=str(attempt.webhook.id), reason=str(error))
        return Outcome(None, "secret_unreadable", time.monotonic() - begun)
    return Outcome(answer.status, "", answer.seconds)
