"""What the API takes and gives of usage."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from django.utils import timezone
from ninja import Schema
from pydantic import BeforeValidator, ConfigDict, Field

from somaagent.money import decimal_text

Group = Literal["day", "month", "user", "agent", "profile", "key"]
COLUMNS = (
    "day", "month", "user_id", "user", "agent", "profile", "api_key_id", "api_key", "steps",
    "steps_without_cost", "steps_estimated", "input_tokens", "cached_tokens", "output_tokens",
    "reasoning_tokens", "cost",
)  # fmt: skip
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
# With these a spreadsheet begins a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _iso(given: Any) -> Any:
    """As 2026-11-22, and no number of seconds."""
    if isinstance(given, str) and not _DAY.fullmatch(given):
        raise ValueError("is a day as 2026-11-22")
    return given


Day = Annotated[date, BeforeValidator(_iso)]


class UsageQuery(Schema):
    """Which days, and what the rows stand for."""

    model_config = ConfigDict(populate_by_name=True)

    first: Annotated[
        Day | None,
        Field(alias="from", description="The first day (UTC). Left out: the first of this month."),
    ] = None
    last: Annotated[Day | None, Field(alias="to", description="The last day (UTC). Left out: today.")] = None
    by: Annotated[
        list[Group], Field(description="A row for each of these, said once for each; one of all if left out.")
    ] = []

    def asked(self) -> dict[str, Any]:
        today = timezone.now().date()
        last = self.last or max(today, self.first or today)
        return {"first": self.first or last.replace(day=1), "last": last, "by": self.by}


class UsageRow(Schema):
    """What was used. ``cost`` is a decimal string: of the steps whose cost is known, null if of none."""

    day: date | None = None
    month: Annotated[str | None, Field(description="As 2026-11.")] = None
    user_id: UUID | None = None
    user: str | None = None
    agent: str | None = None
    profile: str | None = None
    api_key_id: Annotated[UUID | None, Field(description="Null: used in a browser, or by a schedule.")] = None
    api_key: Annotated[str | None, Field(description="The key's name and first characters.")] = None
    steps: int
    steps_without_cost: int
    steps_estimated: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: str | None


class UsageReport(Schema):
    first: Annotated[date, Field(serialization_alias="from")]
    last: Annotated[date, Field(serialization_alias="to")]
    items: list[UsageRow]


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the report: sums of nothing are 0."""
    tokens = {name: value or 0 for name, value in row.items() if name.endswith("_tokens")}
    return row | tokens | {"cost": decimal_text(row["cost"])}


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """RFC 4180, with a header. An apostrophe keeps a spreadsheet from taking a text for a formula."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="")
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _plain(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
