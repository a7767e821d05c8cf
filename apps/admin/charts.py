"""Bar charts as SVG, drawn here: no script, and the page's own colours in light, dark and print.

A chart is a picture for eyes only. ``told`` says in a sentence what is to be seen, and whoever shows a chart
shows its numbers as a table as well (ADR 28).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from .numbers import Number

HEIGHT = 100
STEP = 10
# Of a step: the rest is the gap to the next column.
WIDTH = 8
# A bar of anything is seen.
LEAST = Decimal("0.8")
MOST_TICKS = 6
# The least of these that covers the highest column, times a power of ten, ends the scale.
NICE = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a column: ``HEIGHT`` is the whole scale. ``series`` counts from 1."""

    series: int
    y: str
    height: str


@dataclass(frozen=True, slots=True)
class Column:
    """``told`` is what a pointer is told; ``left`` and ``x`` are where the column and its bars begin."""

    left: int
    x: int
    bars: list[Bar]
    told: str


@dataclass(frozen=True, slots=True)
class Series:
    """``place`` counts from 1 and has a colour of its own."""

    place: int
    name: str
    total: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Stacked columns. ``scale``: top, middle and 0. ``rows``: a label, and a number of each series."""

    title: str
    told: str
    series: list[Series]
    columns: list[Column]
    scale: list[str]
    ticks: list[str]
    headings: list[str]
    rows: list[tuple[str, list[str]]]

    @property
    def width(self) -> int:
        return STEP * len(self.columns)


def chart(
    title: str,
    *,
    of: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[Number]],
    written: Callable[[Decimal], str],
) -> Chart | None:
    """A column for each label: a part for each series, which has a number, 0 or more, for each label.

    ``of`` names what is counted, ``written`` writes a number of it. None where there is nothing but zeros.
    """
    sums = [
        sum((Decimal(numbers[place]) for numbers in series.values()), Decimal(0))
        for place in range(len(labels))
    ]
    highest = max(sums, default=Decimal(0))
    if not highest:
        return None
    top = nice(highest)
    rows = [
        (label, [written(Decimal(numbers[place])) for numbers in series.values()])
        for place, label in enumerate(labels)
    ]
    return Chart(
        title=title,
        told=_told(of, labels, sums, written),
        series=[
            Series(place, name, written(Decimal(sum(numbers))))
            for place, (name, numbers) in enumerate(series.items(), 1)
        ],
        columns=[
            _column(
                place, label, sums[place], top, {name: one[place] for name, one in series.items()}, written
            )
            for place, label in enumerate(labels)
        ],
        scale=[written(top), written(top / 2), "0"],
        ticks=_ticks(labels),
        headings=list(series),
        rows=rows,
    )


def nice(highest: Decimal) -> Decimal:
    """Where a scale ends that has to hold this number."""
    power = Decimal(1).scaleb(highest.adjusted())
    return next(power * step for step in NICE if power * step >= highest)


def _column(
    place: int,
    label: str,
    total: Decimal,
    top: Decimal,
    parts: Mapping[str, Number],
    written: Callable[[Decimal], str],
) -> Column:
    bars: list[Bar] = []
    base = Decimal(HEIGHT)
    for number, amount in enumerate(parts.values(), 1):
        if amount:
            height = max(Decimal(amount) / top * HEIGHT, LEAST)
            base = max(base - height, Decimal(0))
            bars.append(Bar(number, f"{base:.2f}", f"{height:.2f}"))
    lines = [f"{label}: {written(total)}"]
    if len(parts) > 1:
        lines += [f"{name}: {written(Decimal(amount))}" for name, amount in parts.items() if amount]
    return Column(place * STEP, place * STEP + (STEP - WIDTH) // 2, bars, "\n".join(lines))


def _told(of: str, labels: Sequence[str], sums: Sequence[Decimal], written: Callable[[Decimal], str]) -> str:
    most = max(range(len(sums)), key=sums.__getitem__)
    return (
        f"{of}, {labels[0]} to {labels[-1]}: {written(sum(sums, Decimal(0)))} in all, "
        f"most {labels[most]} ({written(sums[most])})."
    )


def _ticks(labels: Sequence[str]) -> list[str]:
    """The first label, the last, and some between them, evenly."""
    if len(labels) <= MOST_TICKS:
        return list(labels)
    gaps = MOST_TICKS - 1
    return [labels[round(number * (len(labels) - 1) / gaps)] for number in range(MOST_TICKS)]
