"""What the admin's first page shows. Read inside the operator's tenant.

Each part is read only for who may see its list. However many rows there are: a part reads those of its
stretch of time, or those that are open, by an index.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.utils import timezone

from apps.chat import figures
from apps.sessions import selectors as sessions
from somaagent.observability.health import GOOD, HealthRecord, ServiceHealth
from somaagent.tenancy.audit.selectors import entries_newest
from somaagent.tenancy.budgets.selectors import Tight, tight_budgets
from somaagent.tenancy.ledger import figures as ledger
from somaagent.tenancy.outbox.lag import MOST_SECONDS, Lag
from somaagent.tenancy.outbox.selectors import outbox_lag
from somaagent.web import health

from .charts import Chart
from .spent import cost_by_day, tokens_by_day

HOURS = 24
DAYS = 30
# Of each list: the rest is behind its link.
MOST = 5
MOST_ENTRIES = 8

May = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Turns:
    """``since``: where the last hours begin."""

    since: datetime
    recent: figures.Recent
    open: figures.Open


@dataclass(frozen=True, slots=True)
class Approvals:
    """Calls that wait for an answer: how many, and the oldest of them."""

    waiting: int
    oldest: list[Any]


@dataclass(frozen=True, slots=True)
class Money:
    """What was used. ``day`` and ``month``: where this day and this month begin (UTC)."""

    day: datetime
    month: datetime
    spending: ledger.Spending
    charts: list[Chart]
    agents: list[ledger.Spender]
    users: list[ledger.Spender]


@dataclass(frozen=True, slots=True)
class Outbox:
    lag: Lag

    @property
    def is_late(self) -> bool:
        return self.lag.seconds > MOST_SECONDS


@dataclass(frozen=True, slots=True)
class Services:
    """``bad``: those that are not as they should be, or have an error to tell."""

    record: HealthRecord
    bad: list[tuple[str, ServiceHealth]]


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a new platform has of what it needs, until there is a turn."""

    has_model: bool
    has_price: bool
    has_agent: bool


@dataclass(frozen=True, slots=True)
class Dashboard:
    """None: the operator may not see that. ``beginning``: None once there are turns."""

    services: Services
    beginning: Beginning | None
    turns: Turns | None
    approvals: Approvals | None
    money: Money | None
    budgets: list[Tight] | None
    outbox: Outbox | None
    entries: list[Any] | None


def dashboard(*, may: May) -> Dashboard:
    """``may``: whether the operator has a permission (``app.action_model``)."""
    now = timezone.now()
    sees_turns = may("chat.view_turn")
    return Dashboard(
        services=_services(),
        beginning=_beginning() if sees_turns else None,
        turns=_turns(now) if sees_turns else None,
        approvals=_approvals() if sees_turns else None,
        money=_money(now) if may("tenancy.view_usagerecord") else None,
        budgets=tight_budgets(most=MOST) if may("tenancy.view_budget") else None,
        outbox=Outbox(outbox_lag()) if may("tenancy.view_outboxevent") else None,
        entries=list(entries_newest(most=MOST_ENTRIES)) if may("tenancy.view_auditentry") else None,
    )


def _services() -> Services:
    record = health.current()
    bad = [(name, one) for name, one in record.services.items() if one.state not in GOOD]
    return Services(record, bad)


def _beginning() -> Beginning | None:
    if figures.turns_exist():
        return None
    profiles = list(sessions.model_profile_list().values_list("input_price", "output_price"))
    priced = any(price is not None for prices in profiles for price in prices)
    return Beginning(bool(profiles), priced, sessions.agent_list().exists())


def _turns(now: datetime) -> Turns:
    since = now - timedelta(hours=HOURS)
    return Turns(since, figures.turns_since(since), figures.turns_open())


def _approvals() -> Approvals:
    waiting = figures.calls_waiting()
    return Approvals(waiting.count(), list(waiting[:MOST]))


def _money(now: datetime) -> Money:
    today = now.date()
    month = today.replace(day=1)
    spending = ledger.spending(now=now, days=DAYS)
    charts = [tokens_by_day(spending.days), cost_by_day(spending.days)]
    return Money(
        day=_begin(today),
        month=_begin(month),
        spending=spending,
        charts=[chart for chart in charts if chart],
        agents=ledger.top_agents(since=month, until=today, most=MOST),
        users=ledger.top_users(since=month, until=today, most=MOST),
    )


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
