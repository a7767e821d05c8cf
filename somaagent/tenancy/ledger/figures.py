"""Figures of the ledger for an overview: days, this month beside the last, who spends most.

All run inside the tenant's scope, and read the rows of two months at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from somaagent.tenancy.models import User

from .models import UsageRecord
from .selectors import records_between

TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
_SUMS = {
    "steps": Count("pk"),
    "unpriced": Count("pk", filter=Q(cost__isnull=True)),
    "used_cost": Sum("cost"),
    **{f"used_{name}": Sum(name) for name in TOKENS},
}


@dataclass(frozen=True, slots=True)
class Used:
    """What some steps used. ``cost`` is of those whose cost is known; ``unpriced`` counts the others."""

    steps: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal = Decimal(0)

    @property
    def tokens(self) -> int:
        """Cached ones are among the input's, reasoning among the output's."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Used) -> Used:
        return Used(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Compared:
    """A running period up to now, and the one before it up to the same moment of its own."""

    now: Used
    before: Used


@dataclass(frozen=True, slots=True)
class Spending:
    """``days``: what each day used, oldest first, those without any use too."""

    today: Compared
    month: Compared
    days: list[tuple[date, Used]]


@dataclass(frozen=True, slots=True)
class Spender:
    """An agent or a user: ``key`` is the slug or the id, ``name`` is empty where it is known no longer."""

    key: Any
    name: str
    used: Used


def spending(*, now: datetime, days: int) -> Spending:
    """Today and this month (UTC) beside the periods before, and the last so many days."""
    today, clock = now.astimezone(UTC).date(), now.astimezone(UTC).time()
    month = today.replace(day=1)
    before = (month - timedelta(days=1)).replace(day=1)
    oldest = today - timedelta(days=days - 1)
    used = _by_day(min(before, oldest), today)
    # The 31st has no counterpart in a month of 30 days: that month is compared whole.
    same = before + timedelta(days=today.day - 1)
    earlier = _sum(used, before, min(same, month))
    if same < month:
        earlier += _until(same, clock)
    return Spending(
        today=Compared(used.get(today, Used()), _until(today - timedelta(days=1), clock)),
        month=Compared(_sum(used, month, today + timedelta(days=1)), earlier),
        days=[(day, used.get(day, Used())) for day in (oldest + timedelta(days=n) for n in range(days))],
    )


def top_agents(*, since: date, until: date, most: int) -> list[Spender]:
    """Those whose steps cost most, then used most tokens. Embeddings have no agent."""
    rows = records_between(since, until).exclude(agent="")
    return [Spender(row["agent"], row["agent"], _used(row)) for row in _top(rows, "agent", most)]


def top_users(*, since: date, until: date, most: int) -> list[Spender]:
    rows = _top(records_between(since, until), "user_id", most)
    names = dict(User.objects.filter(id__in=[row["user_id"] for row in rows]).values_list("id", "username"))
    return [Spender(row["user_id"], names.get(row["user_id"], ""), _used(row)) for row in rows]


def _top(rows: QuerySet[UsageRecord], column: str, most: int) -> Iterable[dict[str, Any]]:
    grouped = rows.values(column).annotate(**_SUMS, used_tokens=Sum(F("input_tokens") + F("output_tokens")))
    return list(grouped.order_by(F("used_cost").desc(nulls_last=True), "-used_tokens", column)[:most])


def _by_day(first: date, last: date) -> dict[date, Used]:
    rows = records_between(first, last).annotate(day=TruncDate("created_at", tzinfo=UTC))
    found = rows.values("day").annotate(**_SUMS).order_by("day")
    return {row["day"]: _used(row) for row in found}


def _until(day: date, clock: time) -> Used:
    """What a day had used at that time of day."""
    until = datetime.combine(day, clock, UTC)
    return _used(records_between(day, day).filter(created_at__lte=until).aggregate(**_SUMS))


def _used(row: Mapping[str, Any]) -> Used:
    tokens = {name: row[f"used_{name}"] or 0 for name in TOKENS}
    return Used(row["steps"], row["unpriced"], **tokens, cost=row["used_cost"] or Decimal(0))


def _sum(days: dict[date, Used], first: date, before: date) -> Used:
    """Of the days from the first on, and before the other."""
    total = Used()
    for day, used in days.items():
        if first <= day < before:
            total += used
    return total
