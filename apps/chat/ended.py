"""What a turn's end leaves to be told: to those who follow it, and as statements an event in the outbox and
what webhooks deliver.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from somaagent.agent.events import TurnCancelled, TurnCompleted, TurnEnded, TurnFailed
from somaagent.agent.messages import Usage
from somaagent.tenancy.outbox.statements import Event, event, told
from somaagent.tenancy.scripts import Row, Script, Statement, read

from . import statements
from .models import Turn, TurnState
from .webhooks.statements import deliveries


@dataclass(frozen=True, slots=True)
class Ended:
    """A turn that has just ended, as its row says."""

    turn_id: UUID
    tenant_id: UUID
    session_id: UUID
    user_id: UUID
    state: str
    error_code: str
    finished_at: datetime
    usage: Usage


def last_event(turn: Turn) -> TurnEnded:
    """What those who follow a turn that has ended are told, out of its row."""
    if turn.state == TurnState.FAILED:
        return TurnFailed(turn.error_code, turn.error_message, turn.error_retryable, turn.usage)
    if turn.state == TurnState.CANCELLED:
        return TurnCancelled(turn.usage)
    message = turn.output_message
    return TurnCompleted(message.text if message else "", turn.usage, str(message.id) if message else None)


def turn_ended(turn: Ended) -> tuple[Event, Statement]:
    """In the transaction that ends a turn: its event, and its deliveries (rows: ids)."""
    made = deliveries(
        tenant_id=turn.tenant_id, user_id=turn.user_id, turn_id=turn.turn_id, event=f"turn.{turn.state}"
    )
    return event(tenant_id=turn.tenant_id, kind="turn.finished", subject=turn.turn_id, data=_data(turn)), made


def turns_ended(turn_ids: Sequence[UUID]) -> Script[list[Row]]:
    """The same for turns that ended before in the transaction; what still runs is passed over."""
    (rows,) = yield [statements.over(turn_ids)]
    if not rows:
        return []
    ended = [turn_ended(_row(read(Turn, row))) for row in rows]
    _, *made = yield [told(*(event for event, _ in ended)), *(deliveries for _, deliveries in ended)]
    return [row for rows in made for row in rows]


def _row(turn: Turn) -> Ended:
    if turn.finished_at is None:
        raise ValueError(f"Turn {turn.id} has not ended.")
    return Ended(
        turn.id,
        turn.tenant_id,
        turn.session_id,
        turn.user_id,
        turn.state,
        turn.error_code,
        turn.finished_at,
        turn.usage,
    )


def _data(turn: Ended) -> dict[str, Any]:
    """As ``outbox.catalogue.TurnFinished`` says."""
    return {
        "turn_id": turn.turn_id,
        "session_id": turn.session_id,
        "user_id": turn.user_id,
        "state": turn.state,
        "error_code": turn.error_code,
        "finished_at": turn.finished_at,
        "usage": turn.usage.data(),
    }
