"""The admin's page of usage: charts and a table of what the operator's tenant used, and the same as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from apps.chat.money.schemas import as_csv, told
from somaagent.errors import SomaError
from somaagent.tenancy.ledger.figures import TOKENS, Used
from somaagent.tenancy.ledger.selectors import tenant_usage

from .charts import Chart, chart
from .numbers import short
from .spent import cost_chart, day_label, tokens_chart
from .usage_form import UsageForm

# A table of more is for a spreadsheet.
MOST_ROWS = 200
# As many as can be told apart by their colours; all others are one.
MOST_SERIES = 5
OTHERS = "All others"
_LABELS = {
    "user": ("user", "user_id"),
    "agent": ("agent",),
    "profile": ("profile",),
    "key": ("api_key", "api_key_id"),
}
_NOBODY = {"agent": "No agent", "profile": "No profile", "key": "Without a key"}


@dataclass(frozen=True, slots=True)
class Row:
    """A day or month, and within it one user, agent, profile or key, where it was asked for."""

    period: str
    group: str
    used: Used
    estimated: int


@dataclass(frozen=True, slots=True)
class UsagePage:
    """``rows`` are the newest ones, of ``found``; ``group``: the heading of what each stands for, if any.

    ``groups``: what each group used in all, those that cost most first, of ``groups_found``.
    """

    rows: list[Row]
    found: int
    groups: list[Row]
    groups_found: int
    total: Used
    estimated: int
    group: str
    charts: list[Chart]
    csv: str


def usage_page(form: UsageForm) -> UsagePage | None:
    """Read inside the tenant's scope. None where the form has errors, which it shows at its fields then."""
    read = _read(form)
    if read is None:
        return None
    asked, rows = form.cleaned_data, [_row(one, form.cleaned_data) for one in read]
    periods = _periods(asked["first"], asked["last"], asked["each"])
    total = sum((row.used for row in rows), Used())
    groups = _groups(rows) if asked["by"] else []
    query = {"from": asked["first"], "to": asked["last"], "each": asked["each"], "by": asked["by"]}
    return UsagePage(
        rows=rows[: -MOST_ROWS - 1 : -1],
        found=len(rows),
        groups=groups[:MOST_ROWS],
        groups_found=len(groups),
        total=total,
        estimated=sum(row.estimated for row in rows),
        group=dict(form.fields["by"].choices)[asked["by"]] if asked["by"] else "",  # type: ignore[attr-defined]  # a ChoiceField
        charts=_charts(rows, periods, asked["each"], grouped=bool(asked["by"])),
        csv=urlencode(query),
    )


def usage_csv(form: UsageForm) -> str | None:
    """All rows, as ``/api/v1/usage.csv`` gives them. None as for ``usage_page``."""
    read = _read(form)
    return None if read is None else as_csv([told(row) for row in read])


def _read(form: UsageForm) -> list[dict[str, Any]] | None:
    if not form.is_valid():
        return None
    asked = form.cleaned_data
    by = [name for name in (asked["each"], asked["by"]) if name]
    try:
        return tenant_usage(first=asked["first"], last=asked["last"], by=by)
    except SomaError as error:
        form.refuse(error.field or "", error.message)
        return None


def _row(row: dict[str, Any], asked: dict[str, Any]) -> Row:
    tokens = {name: row[name] or 0 for name in TOKENS}
    used = Used(row["steps"], row["steps_without_cost"], **tokens, cost=row["cost"] or Decimal(0))
    return Row(str(row[asked["each"]]), _label(row, asked["by"]), used, row["steps_estimated"])


def _label(row: dict[str, Any], by: str) -> str:
    """Of a user or a key that is gone there is only the id."""
    found = next((row[name] for name in _LABELS.get(by, ()) if row[name]), None)
    return str(found) if found else _NOBODY.get(by, "")


def _periods(first: date, last: date, each: str) -> list[str]:
    """Every day or month from the first to the last: those without any use too."""
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return list(dict.fromkeys(f"{day:%Y-%m}" if each == "month" else day.isoformat() for day in days))


def _charts(rows: Sequence[Row], periods: list[str], each: str, *, grouped: bool) -> list[Chart]:
    tokens, cost = f"Tokens a {each}", f"Cost a {each}"
    labels = periods if each == "month" else [day_label(date.fromisoformat(day)) for day in periods]
    used = _by_series(rows, periods)
    if grouped:
        counts = {name: [one.tokens for one in line] for name, line in used.items()}
        first = chart(tokens, of="Tokens", labels=labels, series=counts, written=short)
        spent = {name: [one.cost for one in line] for name, line in used.items()}
    else:
        line = next(iter(used.values()), [])
        first = tokens_chart(tokens, list(zip(labels, line, strict=True)) if line else [])
        spent = {"Cost": [one.cost for one in line]}
    return [found for found in (first, cost_chart(cost, labels, spent) if used else None) if found]


def _by_series(rows: Sequence[Row], periods: list[str]) -> dict[str, list[Used]]:
    """For each group what each period used: those that used most, and all others as one."""
    most = [row.group for row in _groups(rows)]
    shown = most[:MOST_SERIES]
    places = {period: place for place, period in enumerate(periods)}
    lines = {
        name: [Used()] * len(periods) for name in [*shown, *([OTHERS] if len(most) > len(shown) else [])]
    }
    for row in rows:
        line = lines[row.group if row.group in shown else OTHERS]
        line[places[row.period]] += row.used
    return lines


def _groups(rows: Sequence[Row]) -> list[Row]:
    """Each group with all that it used, those that cost most first, then those with most tokens."""
    totals: dict[str, Row] = {}
    for row in rows:
        before = totals.get(row.group, Row("", row.group, Used(), 0))
        totals[row.group] = Row("", row.group, before.used + row.used, before.estimated + row.estimated)
    return sorted(totals.values(), key=lambda row: (-row.used.cost, -row.used.tokens, row.group))
