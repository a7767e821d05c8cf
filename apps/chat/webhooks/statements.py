"""What a turn's end leaves to be delivered, as a statement (``somaagent.tenancy.scripts``)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.utils import timezone

from somaagent.tenancy.scripts import Statement

# An event is named for the state that the turn ended in. What was said before is not said again.
_DELIVERIES = """
INSERT INTO chat_webhookdelivery
    (id, created_at, tenant_id, webhook_id, turn_id, event, payload, state, attempts, next_attempt_at,
    last_error)
SELECT
    uuidv7(), %(now)s, turn.tenant_id, webhook.id, turn.id, 'turn.' || turn.state, '', 'pending', 0, %(now)s,
    ''
FROM chat_turn turn JOIN chat_webhook webhook
    ON webhook.tenant_id = turn.tenant_id AND webhook.user_id = turn.user_id
    AND webhook.enabled AND 'turn.' || turn.state = ANY(webhook.events)
WHERE turn.id = ANY(%(turns)s) AND turn.state = ANY(%(ended)s)
ON CONFLICT (webhook_id, turn_id, event) DO NOTHING
RETURNING id, tenant_id
"""
_ENDED = ["completed", "failed", "cancelled"]


def deliveries(turn_ids: Sequence[UUID]) -> Statement:
    """For turns that have just ended, in the transaction that ended them: what their users want to be told.

    Gives id and tenant of each delivery, for ``services.wake_workers`` after the commit. What still runs is
    passed over.
    """
    return Statement(_DELIVERIES, {"turns": list(turn_ids), "ended": _ENDED, "now": timezone.now()})
