"""What stories of the admin's figures are told with: steps in the ledger, and turns, at chosen moments."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from apps.chat.models import Turn, TurnState
from apps.sessions import services as sessions
from apps.sessions.models import Message
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.fields import first_id, uuid7
from somaagent.tenancy.ledger.models import UsageRecord
from somaagent.tenancy.scope import tenant_scope


def steps_used(actor: Actor, moment: datetime, number: int = 1, **facts: Any) -> None:
    """Steps of the actor's, in the ledger since a moment."""
    _kept(actor, UsageRecord, [_step(actor, moment, facts) for _ in range(number)], moment)


def agents_used(actor: Actor, moment: datetime, number: int, **facts: Any) -> None:
    """A step of each of so many agents."""
    rows = [_step(actor, moment, facts | {"agent": f"agent-{place}"}) for place in range(number)]
    _kept(actor, UsageRecord, rows, moment)


def _step(actor: Actor, moment: datetime, facts: dict[str, Any]) -> UsageRecord:
    given = {"agent": "assistant", "profile": "scripted", "input_tokens": 100, "output_tokens": 10} | facts
    whose = {"tenant_id": actor.tenant_id, "user_id": actor.user_id}
    return UsageRecord(id=_id(moment), source="turn", run_id=uuid7(), step=1, **whose, **given)


def turns_done(
    actor: Actor, moment: datetime, number: int = 1, *, state: str = TurnState.COMPLETED, **facts: Any
) -> list[Turn]:
    """Turns of the actor's in a session of their own, since a moment."""
    with tenant_scope(actor.tenant_id):
        session = sessions.session_create(actor=actor)
        asked = Message.objects.create(
            tenant_id=actor.tenant_id, session=session, role="user", text="question"
        )
    rows = [
        Turn(
            id=_id(moment),
            tenant_id=actor.tenant_id,
            session=session,
            user_id=actor.user_id,
            input_message=asked,
            state=state,
            started_at=moment,
            **facts,
        )
        for _ in range(number)
    ]
    _kept(actor, Turn, rows, moment)
    return rows


def _id(moment: datetime) -> Any:
    """Of that moment, and unlike all others."""
    made = uuid7().int & ((1 << 80) - 1)
    return type(first_id(moment))(int=(first_id(moment).int >> 80 << 80) | made)


def _kept(actor: Actor, model: Any, rows: list[Any], moment: datetime) -> None:
    """Made then, and not now."""
    field = model._meta.get_field("created_at")
    field.auto_now_add = False
    try:
        for row in rows:
            row.created_at = moment
        with tenant_scope(actor.tenant_id):
            model.objects.bulk_create(rows, batch_size=2000)
    finally:
        field.auto_now_add = True


def ago(**time: float) -> datetime:
    return timezone.now() - timedelta(**time)
