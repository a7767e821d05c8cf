"""Numbers as people read them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from apps.admin.numbers import change, money, short, whole


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (7, "7"),
        (9_999, "9,999"),
        (10_000, "10k"),
        (12_345, "12.3k"),
        (999_499, "999k"),
        (999_500, "1M"),
        (4_560_000, "4.56M"),
        (2_500_000_000, "2.5B"),
        (7_000_000_000_000_000, "7000T"),
        (Decimal("2.5"), "2.5"),
    ],
)
def test_a_count_in_a_few_characters(number, text):
    assert short(number) == text


def test_a_count_with_all_its_digits():
    assert whole(1_234_567) == "1,234,567"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "–"),
        ("0", "0"),
        ("0.000266", "0.000266"),
        ("0.00026649", "0.000266"),
        ("0.9995", "1.00"),
        ("0.5", "0.50"),
        ("0.969", "0.969"),
        ("0.1", "0.10"),
        ("1", "1.00"),
        ("12.345", "12.35"),
        ("1234567.891", "1,234,567.89"),
    ],
)
def test_little_money_is_not_nothing(amount, text):
    assert money(None if amount is None else Decimal(amount)) == text


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [
        (5, 0, ""),
        (0, 0, ""),
        (112, 100, "+12 %"),
        (60, 100, "−40 %"),
        (0, 3, "−100 %"),
        (1001, 1000, "as much"),
        (50, 1, "+4,900 %"),
    ],
)
def test_what_has_become_of_a_number(now, before, text):
    assert change(now, before) == text
