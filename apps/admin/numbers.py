"""Numbers as people read them: short where they stand for a glance, whole where they are looked up."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

Number = int | Decimal
_SHORT = ((Decimal(10) ** 12, "T"), (Decimal(10) ** 9, "B"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 3, "k"))
_PLAIN_BELOW = 10_000
_CENT = Decimal("0.01")
_DIGITS = 3


def short(number: Number) -> str:
    """A count in a few characters: 9,999, 12.3k, 4.56M."""
    amount = Decimal(number)
    if amount < _PLAIN_BELOW:
        return f"{amount.normalize():,f}"
    for unit, letter in _SHORT:
        # 999,950 would be 1000k.
        if (scaled := _rounded(amount / unit, _DIGITS)) >= 1:
            return f"{scaled.normalize():f}{letter}"
    raise AssertionError("The least unit is below the least amount.")


def whole(number: Number) -> str:
    """A count with all its digits, in groups: 1,234,567."""
    return f"{number:,}"


def money(amount: Decimal | None) -> str:
    """Two places or, below 1, three digits that count, so that what is little is not nothing."""
    if amount is None:
        return "–"
    if not amount:
        return "0"
    few = _rounded(amount, _DIGITS).normalize() if amount < 1 else amount
    if few >= 1 or few.as_tuple().exponent > _CENT.as_tuple().exponent:  # type: ignore[operator]  # a number's
        few = few.quantize(_CENT, ROUND_HALF_UP)
    return f"{few:,f}"


def change(now: Number, before: Number) -> str:
    """What has become of a number, in words: +12 %, −40 %, as much. Empty where there was nothing before."""
    if not before:
        return ""
    percent = ((Decimal(now) / Decimal(before) - 1) * 100).quantize(Decimal(1), ROUND_HALF_UP)
    if not percent:
        return "as much"
    return f"{'+' if percent > 0 else '−'}{abs(percent):,f} %"


def _rounded(amount: Decimal, digits: int) -> Decimal:
    """To so many digits that count."""
    return amount.quantize(Decimal(1).scaleb(amount.adjusted() - digits + 1), ROUND_HALF_UP)
