"""Figures of the ledger for an overview: days, this month beside the last, who spends most.

All run inside the tenant's scope, and read the rows of two months at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from somaagent.tenancy.models import User

from .models import UsageRecord
from .selectors import records_between

TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


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
    today = now.astimezone(UTC).date()
    month, before = today.replace(day=1), (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    oldest = today - timedelta(days=days - 1)
    whole, until = _by_day(min(before, oldest), now)
    yesterday, nothing = today - timedelta(days=1), Used()
    # The 31st has no counterpart in a month of 30 days: that month is compared whole.
    same = before + timedelta(days=today.day - 1)
    if same < month:
        earlier = _sum(whole, before, same) + until.get(same, nothing)
    else:
        earlier = _sum(whole, before, month)
    return Spending(
        today=Compared(whole.get(today, nothing), until.get(yesterday, nothing)),
        month=Compared(_sum(whole, month, today + timedelta(days=1)), earlier),
        days=[(day, whole.get(day, nothing)) for day in (oldest + timedelta(days=n) for n in range(days))],
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
    grouped = rows.values(column).annotate(**_sums(Q()))
    return list(grouped.order_by(F("used_cost").desc(nulls_last=True), "-used_tokens", column)[:most])


def _by_day(first: date, now: datetime) -> tuple[dict[date, Used], dict[date, Used]]:
    """What each day used: in all, and up to the time of day that it is now."""
    clock = Q(created_at__time__lte=now.astimezone(UTC).time())
    rows = records_between(first, now.astimezone(UTC).date()).annotate(
        day=TruncDate("created_at", tzinfo=UTC)
    )
    early = {f"early_{name}": value for name, value in _sums(clock).items()}
    found = list(rows.values("day").annotate(**_sums(Q()), **early).order_by("day"))
    return (
        {row["day"]: _used(row) for row in found},
        {row["day"]: _used(row, "early_") for row in found},
    )


def _sums(which: Q) -> dict[str, Any]:
    tokens = {f"used_{name}": Sum(name, filter=which) for name in TOKENS}
    return {
        "steps": Count("pk", filter=which),
        "unpriced": Count("pk", filter=which & Q(cost__isnull=True)),
        **tokens,
        "used_tokens": Sum(F("input_tokens") + F("output_tokens"), filter=which),
        "used_cost": Sum("cost", filter=which),
    }


def _used(row: Mapping[str, Any], prefix: str = "") -> Used:
    tokens = {name: row[f"{prefix}used_{name}"] or 0 for name in TOKENS}
    steps, unpriced = row[f"{prefix}steps"], row[f"{prefix}unpriced"]
    return Used(steps=steps, unpriced=unpriced, **tokens, cost=row[f"{prefix}used_cost"] or Decimal(0))


def _sum(days: dict[date, Used], first: date, before: date) -> Used:
    """Of the days from the first on, and before the other."""
    total = Used()
    for day, used in days.items():
        if first <= day < before:
            total += used
    return total
