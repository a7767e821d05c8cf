"""Reads of the ledger: what was used, by whom, in which time. All run inside the tenant's scope."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import TruncDate, TruncMonth

from somaagent.errors import SomaError, invalid
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.fields import first_id
from somaagent.tenancy.models import Role, User

from .models import UsageRecord

MOST_DAYS = 366
MOST_ROWS = 10_000
_COLUMNS = {"day": "day", "month": "month", "user": "user_id", "agent": "agent", "profile": "profile"}
_MOMENT = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUMMED = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost")
_SUMS = {
    "steps": Count("pk"),
    "steps_without_cost": Count("pk", filter=Q(cost__isnull=True)),
    "steps_estimated": Count("pk", filter=Q(estimated=True)),
    **{f"sum_{name}": Sum(name) for name in _SUMMED},
}


def usage_report(*, actor: Actor, first: date, last: date, by: Sequence[str]) -> list[dict[str, Any]]:
    """What was used from the ``first`` day to the ``last`` (UTC), grouped ``by`` any of day, month, user,
    agent and profile, in that order; by none, one row of all.

    Owners and admins see what everybody used, others what they did. ``cost`` is of the steps whose cost is
    known; ``steps_without_cost`` counts the others.
    """
    if not 0 <= (last - first).days <= MOST_DAYS:
        sentence = f"Name a last day that is not before the first, nor more than {MOST_DAYS} days after it."
        raise invalid("query.to", sentence)
    groups = [_COLUMNS[name] for name in _COLUMNS if name in by]
    seen = _seen(actor, first, last)
    if not groups:
        return [_told(seen.aggregate(**_SUMS))]
    days = {"day": TruncDate("created_at", tzinfo=UTC), "month": TruncMonth("created_at", tzinfo=UTC)}
    rows = seen.annotate(**days).values(*groups).annotate(**_SUMS).order_by(*groups)
    found = list(rows[: MOST_ROWS + 1])
    if len(found) > MOST_ROWS:
        raise _too_many()
    return _named([_told(row) for row in found])


def _seen(actor: Actor, first: date, last: date) -> QuerySet[UsageRecord]:
    begins, ends = datetime.combine(first, time(), UTC), datetime.combine(last, time.max, UTC)
    # Ids sort by time and have the index; they were made a moment before their rows.
    near = first_id(max(begins, _EPOCH + _MOMENT) - _MOMENT)
    rows = UsageRecord.objects.filter(id__gte=near, created_at__gte=begins, created_at__lte=ends)
    return rows if actor.role in (Role.OWNER, Role.ADMIN) else rows.filter(user_id=actor.user_id)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    told = {name.removeprefix("sum_"): value for name, value in row.items()}
    if "month" in told:
        told["month"] = f"{told['month']:%Y-%m}"
    return told


def _named(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the names of users; of one who is gone, none."""
    ids = {row["user_id"] for row in rows if "user_id" in row}
    names = dict(User.objects.filter(id__in=ids).values_list("id", "username")) if ids else {}
    return [row | {"user": names.get(row["user_id"])} if "user_id" in row else row for row in rows]


def _too_many() -> SomaError:
    return invalid("query.by", f"That is more than {MOST_ROWS} rows: ask for fewer days, or group by less.")
