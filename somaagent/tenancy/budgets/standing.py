"""How a budget stands, and the errors that say that nothing is left of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from somaagent.errors import Kind, SomaError

EXCEEDED = "budget_exceeded"
_OF = {
    "tenant": "the whole organisation",
    "user": "this user",
    "api_key": "this API key",
    "agent": "this agent",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget in its running period. ``spent`` and ``reserved`` are tokens or money, as its ``measure``."""

    name: str
    covers: str
    subject_id: UUID | None
    measure: str
    period: str
    amount: Decimal
    spent: Decimal
    reserved: Decimal

    @property
    def left(self) -> Decimal:
        return self.amount - self.spent - self.reserved

    def ends(self) -> date:
        """The first day (UTC) of its next period."""
        today = datetime.now(UTC).date()
        if self.period == "day":
            return today + timedelta(days=1)
        return (today.replace(day=1) + timedelta(days=32)).replace(day=1)


def refuse_spent(budgets: Sequence[Standing]) -> None:
    """Raise ``budget_exceeded`` where one of them has nothing left."""
    for budget in budgets:
        if budget.left <= 0:
            raise exceeded(budget)


def exceeded(budget: Standing) -> SomaError:
    what = f"{budget.amount.normalize():f} {budget.measure} a {budget.period}, for {_OF[budget.covers]}"
    held = " or held by what is running now" if budget.reserved else ""
    return SomaError(
        Kind.OVER_BUDGET,
        EXCEEDED,
        f"The budget “{budget.name}” ({what}) is used up{held}. It begins anew on {budget.ends()} (UTC); who "
        "runs this organisation can raise it.",
    )


def price_missing(budget: Standing) -> SomaError:
    """Nobody knows what a step will cost, and a budget of money applies."""
    return SomaError(
        Kind.CONFLICT,
        "price_missing",
        f"The budget “{budget.name}” counts money, and a model profile of this agent has no price for its "
        "input or output. An operator has to set it; 0 is one.",
    )
