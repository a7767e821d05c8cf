"""How money is written."""

from __future__ import annotations

from decimal import Decimal


def decimal_text(amount: Decimal | None) -> str | None:
    """Money as the API and its events write it: a decimal string without exponent and without idle zeros."""
    if amount is None:
        return None
    return format(amount.normalize(), "f") if amount else "0"
