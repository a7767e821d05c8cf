"""What a turn's end leaves to be told: an event in the outbox, and what webhooks deliver, as statements."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from somaagent.tenancy.outbox.statements import INSERT
from somaagent.tenancy.scripts import Statement

from .webhooks.statements import deliveries

# The cost is a decimal string, as in the API.
_EVENTS = f"""
{INSERT}
SELECT uuidv7(), clock_timestamp(), turn.tenant_id, 'turn.finished', turn.id::text, jsonb_build_object(
    'turn_id', turn.id, 'session_id', turn.session_id, 'user_id', turn.user_id, 'state', turn.state,
    'error_code', turn.error_code, 'finished_at', turn.finished_at,
    'usage', jsonb_build_object(
        'input_tokens', turn.input_tokens, 'cached_tokens', turn.cached_tokens,
        'output_tokens', turn.output_tokens, 'reasoning_tokens', turn.reasoning_tokens,
        'cost', turn.cost::text
    )
)
FROM chat_turn turn WHERE turn.id = ANY(%(turns)s) AND turn.state IN ('completed', 'failed', 'cancelled')
"""  # noqa: S608 columns of ours


def turns_ended(turn_ids: Sequence[UUID]) -> tuple[Statement, Statement]:
    """For turns that have just ended, in the transaction that ended them; what still runs is passed over.

    To be sent ``together``; the rows are those of ``deliveries``.
    """
    return Statement(_EVENTS, {"turns": list(turn_ids)}), deliveries(turn_ids)
