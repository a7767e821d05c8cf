"""Reads of the ledger: what was used, by whom, in which time. All run inside the tenant's scope."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet, Sum, Value
from django.db.models.functions import Concat, TruncDate, TruncMonth

from somaagent.errors import SomaError, invalid
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.fields import made_between
from somaagent.tenancy.models import ApiKey, Role, User

from .models import UsageRecord

MOST_DAYS = 366
MOST_ROWS = 10_000
_COLUMNS = {
    "day": "day",
    "month": "month",
    "user": "user_id",
    "agent": "agent",
    "profile": "profile",
    "key": "api_key_id",
}
_SUMMED = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost")
_SUMS = {
    "steps": Count("pk"),
    "steps_without_cost": Count("pk", filter=Q(cost__isnull=True)),
    "steps_estimated": Count("pk", filter=Q(estimated=True)),
    **{f"sum_{name}": Sum(name) for name in _SUMMED},
}


def usage_report(*, actor: Actor, first: date, last: date, by: Sequence[str]) -> list[dict[str, Any]]:
    """What the actor may know of: for owners and admins what everybody used, for others what they did.

    The rest is as ``tenant_usage`` says.
    """
    everybody = actor.role in (Role.OWNER, Role.ADMIN)
    return tenant_usage(first=first, last=last, by=by, user_id=None if everybody else actor.user_id)


def tenant_usage(
    *, first: date, last: date, by: Sequence[str], user_id: UUID | None = None
) -> list[dict[str, Any]]:
    """What was used from the ``first`` day to the ``last`` (UTC), grouped ``by`` any of day, month, user,
    agent, profile and key, in that order; by none, one row of all. ``user_id``: by that user alone.

    ``cost`` is of the steps whose cost is known; ``steps_without_cost`` counts the others. What was used
    without an API key has none. Raises INVALID with the field.
    """
    if not 0 <= (last - first).days < MOST_DAYS:
        sentence = f"Name at most {MOST_DAYS} days, the last of them not before the first."
        raise invalid("query.to", sentence)
    groups = [_COLUMNS[name] for name in _COLUMNS if name in by]
    seen = records_between(first, last)
    if user_id is not None:
        seen = seen.filter(user_id=user_id)
    if not groups:
        return [_told(seen.aggregate(**_SUMS))]
    days = {"day": TruncDate("created_at", tzinfo=UTC), "month": TruncMonth("created_at", tzinfo=UTC)}
    rows = seen.annotate(**days).values(*groups).annotate(**_SUMS).order_by(*groups)
    found = list(rows[: MOST_ROWS + 1])
    if len(found) > MOST_ROWS:
        raise _too_many()
    return _named([_told(row) for row in found])


def records_between(first: date, last: date) -> QuerySet[UsageRecord]:
    """The tenant's steps from the first day to the last (UTC), found by an index however many are older."""
    begins, ends = datetime.combine(first, time(), UTC), datetime.combine(last, time.max, UTC)
    return UsageRecord.objects.filter(made_between(begins, None), created_at__lte=ends)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    told = {name.removeprefix("sum_"): value for name, value in row.items()}
    if "month" in told:
        told["month"] = f"{told['month']:%Y-%m}"
    return told


def _named(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the names of users and API keys; of one that is gone, none."""
    users = _names(User.objects.values_list("id", "username"), rows, "user_id")
    told = Concat("name", Value(" ("), "prefix", Value("…)"))
    keys = _names(ApiKey.objects.values_list("id", told), rows, "api_key_id")
    return [_with(_with(row, "user", users), "api_key", keys) for row in rows]


def _names(pairs: QuerySet[Any, Any], rows: list[dict[str, Any]], column: str) -> dict[UUID, str]:
    ids = {found for row in rows if (found := row.get(column)) is not None}
    return dict(pairs.filter(id__in=ids)) if ids else {}


def _with(row: dict[str, Any], name: str, names: dict[UUID, str]) -> dict[str, Any]:
    column = f"{name}_id"
    return row | {name: names.get(row[column])} if column in row else row


def _too_many() -> SomaError:
    return invalid("query.by", f"That is more than {MOST_ROWS} rows: ask for fewer days, or group by less.")
