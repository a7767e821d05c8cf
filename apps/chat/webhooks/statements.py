"""What a turn's end leaves to be delivered, as a statement (``somaagent.tenancy.scripts``)."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from somaagent.tenancy.scripts import Statement

# What was said before is not said again.
_DELIVERIES = """
INSERT INTO chat_webhookdelivery
    (id, created_at, tenant_id, webhook_id, turn_id, event, payload, state, attempts, next_attempt_at,
    last_error)
SELECT
    uuidv7(), %(now)s::timestamptz, webhook.tenant_id, webhook.id, %(turn)s::uuid, %(event)s::text, '',
    'pending', 0, %(now)s::timestamptz, ''
FROM chat_webhook webhook
WHERE webhook.tenant_id = %(tenant)s AND webhook.user_id = %(user)s AND webhook.enabled
    AND %(event)s::text = ANY(webhook.events)
ON CONFLICT (webhook_id, turn_id, event) DO NOTHING
RETURNING id, tenant_id
"""


def deliveries(*, tenant_id: UUID, user_id: UUID, turn_id: UUID, event: str) -> Statement:
    """What a user wants to be told of a turn of theirs, in the transaction in which it happens.

    Gives id and tenant of each delivery, for ``services.wake_workers`` after the commit.
    """
    facts = {"tenant": tenant_id, "user": user_id, "turn": turn_id, "event": event, "now": timezone.now()}
    return Statement(_DELIVERIES, facts)
