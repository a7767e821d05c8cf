"""Charts of what was used: kinds of tokens, and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from somaagent.tenancy.ledger.figures import Used

from .charts import Chart, chart
from .numbers import money, short

# As they are priced: what is cached is part of the input, what a model thinks of the output.
KINDS = ("Input", "Cached input", "Output", "Reasoning")


def tokens_by_day(days: Sequence[tuple[date, Used]]) -> Chart | None:
    return tokens_chart("Tokens a day", [(day_label(day), used) for day, used in days])


def cost_by_day(days: Sequence[tuple[date, Used]]) -> Chart | None:
    return cost_chart(
        "Cost a day", [day_label(day) for day, _ in days], {"Cost": [used.cost for _, used in days]}
    )


def tokens_chart(title: str, columns: Sequence[tuple[str, Used]]) -> Chart | None:
    """By kind: what the kinds of a column add up to are its input and output tokens."""
    kinds = [_kinds(used) for _, used in columns]
    series = {name: [one[place] for one in kinds] for place, name in enumerate(KINDS)}
    labels = [label for label, _ in columns]
    return chart(title, of="Tokens", labels=labels, series=_used(series), written=short)


def cost_chart(title: str, labels: Sequence[str], series: Mapping[str, Sequence[Decimal]]) -> Chart | None:
    return chart(title, of="Cost", labels=labels, series=series, written=money)


def _kinds(used: Used) -> tuple[int, int, int, int]:
    """A server may count more cached tokens than input: no part is below nothing."""
    cached = min(used.cached_tokens, used.input_tokens)
    reasoning = min(used.reasoning_tokens, used.output_tokens)
    return used.input_tokens - cached, cached, used.output_tokens - reasoning, reasoning


def _used(series: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    """Without the kinds of which there are none: a legend names what is there."""
    return {name: numbers for name, numbers in series.items() if any(numbers)}


def day_label(day: date) -> str:
    """As 22 Nov."""
    return f"{day.day} {day:%b}"
