"""Bar charts: what is drawn where, and what is told of it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from apps.admin.charts import HEIGHT, MOST_TICKS, chart, nice
from apps.admin.numbers import short


def drawn(**series):
    labels = [f"{day} Nov" for day in range(1, len(next(iter(series.values()))) + 1)]
    return chart("Tokens a day", of="Tokens", labels=labels, series=series, written=short)


def test_columns_are_as_high_as_their_numbers_on_a_scale_that_ends_at_a_round_one():
    found = drawn(Input=[30, 0, 80], Output=[10, 0, 10])
    assert found.scale == ["100", "50", "0"]
    assert [[(bar.series, bar.y, bar.height) for bar in column.bars] for column in found.columns] == [
        [(1, "70.00", "30.00"), (2, "60.00", "10.00")],
        [],
        [(1, "20.00", "80.00"), (2, "10.00", "10.00")],
    ]
    assert found.width == 30


def test_what_is_drawn_is_told_in_words_and_numbers():
    found = drawn(Input=[30, 0, 80], Output=[10, 0, 10])
    assert found.told == "Tokens, 1 Nov to 3 Nov: 130 in all, most 3 Nov (90)."
    assert found.columns[0].told == "1 Nov: 40\nInput: 30\nOutput: 10"
    assert [(one.place, one.name, one.total) for one in found.series] == [
        (1, "Input", "110"),
        (2, "Output", "20"),
    ]
    assert (found.headings, found.rows[2]) == (["Input", "Output"], ("3 Nov", ["80", "10"]))


def test_the_least_bar_is_seen_and_no_column_is_higher_than_the_picture():
    found = drawn(Input=[1, 10_000_000], Output=[0, 1])
    assert found.columns[0].bars[0].height == "0.80"
    assert all(0 <= float(bar.y) <= HEIGHT for column in found.columns for bar in column.bars)


def test_of_many_labels_a_few_are_written():
    found = drawn(Input=list(range(1, 32)))
    assert len(found.ticks) == MOST_TICKS
    assert (found.ticks[0], found.ticks[-1]) == ("1 Nov", "31 Nov")
    assert drawn(Input=[1, 2]).ticks == ["1 Nov", "2 Nov"]


def test_of_nothing_there_is_no_chart():
    assert drawn(Input=[0, 0]) is None
    assert chart("Tokens", of="Tokens", labels=[], series={"Input": []}, written=short) is None


@pytest.mark.parametrize(
    ("highest", "top"),
    [
        ("1", "1"),
        ("1.1", "2"),
        ("2.4", "2.5"),
        ("90", "100"),
        ("0.00026", "0.0005"),
        ("100", "100"),
        ("9999", "10000"),
    ],
)
def test_a_scale_ends_at_a_round_number(highest, top):
    assert nice(Decimal(highest)) == Decimal(top)
