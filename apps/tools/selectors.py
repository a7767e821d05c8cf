"""What managers read of the record of tools, inside the tenant's scope."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.utils import timezone

from somaagent.errors import not_found
from somaagent.tenancy.fields import made_between

from .models import ToolCallRecord, ToolDecision

if TYPE_CHECKING:
    from django.db.models import QuerySet


def call_list(
    *,
    tool: str | None = None,
    outcome: str | None = None,
    decision: str | None = None,
    user_id: UUID | None = None,
    turn_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[ToolCallRecord]:
    """The tenant's calls that have all that is given, newest first. ``decision``: the effect of the last."""
    given: dict[str, Any] = {"tool": tool, "outcome": outcome, "user_id": user_id, "turn_id": turn_id}
    calls = ToolCallRecord.objects.filter(
        **{name: value for name, value in given.items() if value is not None}
    )
    calls = calls.filter(made_between(since, until))
    if decision is not None:
        calls = calls.filter(decision_id__in=ToolDecision.objects.filter(effect=decision).values("id"))
    return calls.order_by("-id")


def call_get(*, call_id: UUID) -> ToolCallRecord:
    """Raises ``not_found``."""
    call = ToolCallRecord.objects.filter(id=call_id).first()
    if call is None:
        raise not_found("call of a tool")
    return call


def decisions_by_id(decision_ids: Iterable[UUID | None]) -> dict[UUID, ToolDecision]:
    """Those decisions, without what the policy was asked."""
    wanted = [each for each in decision_ids if each is not None]
    return ToolDecision.objects.defer("input").in_bulk(wanted)


def decisions_on(call: ToolCallRecord) -> QuerySet[ToolDecision]:
    """All decisions on a call, oldest first: one that was approved has been judged again."""
    made = ToolDecision.objects.order_by("id")
    if call.turn_id is not None:
        return made.filter(turn_id=call.turn_id, call_id=call.call_id)
    return made.filter(id=call.decision_id) if call.decision_id is not None else made.none()


def decisions_failed(*, hours: int) -> QuerySet[ToolDecision]:
    """Denials of the last hours for want of an answer: the policy failed, newest first."""
    since = timezone.now() - timedelta(hours=hours)
    return ToolDecision.objects.filter(made_between(since, None), policy="").order_by("-id")
