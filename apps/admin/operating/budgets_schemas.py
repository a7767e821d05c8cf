"""What the API of budgets takes and gives. Amounts are decimal strings."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import UUID

from ninja import Schema
from pydantic import AfterValidator, Field, StringConstraints

from somaagent.money import decimal_text
from somaagent.tenancy.budgets.models import MOST, Budget, Covers, Measure, Period
from somaagent.tenancy.budgets.selectors import standing_of
from somaagent.web.bodies import Body, PartialBody
from somaagent.web.text import Title


def _in_range(text: str) -> str:
    if Decimal(text) > MOST:
        raise ValueError(f"is at most {MOST}")
    return text


Amount = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,13}(\.[0-9]{1,6})?$"),
    AfterValidator(_in_range),
    Field(description=f"Tokens, a whole number, or money in the currency of the prices, as a decimal string; "
          f"at most {MOST}. 0: nothing may be spent.", examples=["250.00"]),
]  # fmt: skip
Name = Annotated[Title, Field(min_length=1, description="Who is refused is told it.")]


class BudgetIn(Body):
    name: Name
    covers: Annotated[Covers, Field(description="Whose steps count.")]
    subject_id: Annotated[
        UUID | None, Field(description="The user, API key or agent; left out for the whole tenant.")
    ] = None
    measure: Measure
    period: Annotated[Period, Field(description="In UTC.")]
    amount: Amount

    def facts(self) -> dict[str, Any]:
        return self.model_dump() | {"amount": Decimal(self.amount)}


class BudgetPatch(PartialBody):
    """What is left out stays; what it covers and how it counts stays anyway."""

    name: Name | None = None
    amount: Amount | None = None

    def changes(self) -> dict[str, Any]:
        given = self.model_dump(exclude_unset=True)
        return given | ({"amount": Decimal(given["amount"])} if "amount" in given else {})


class BudgetOut(Schema):
    """A budget and how it stands in its running period."""

    id: UUID
    name: str
    covers: Covers
    subject_id: UUID | None
    measure: Measure
    period: Period
    amount: str
    used: Annotated[str, Field(description="By the steps of this period that have ended.")]
    reserved: Annotated[str, Field(description="What the steps that run now may use at most.")]
    left: Annotated[str, Field(description="Nothing is let in at 0; a step that was may end above it.")]
    begins_anew: Annotated[date, Field(description="The first day (UTC) of its next period.")]
    created_at: datetime

    @classmethod
    def of(cls, budget: Budget) -> Self:
        standing = standing_of(budget)
        return cls(
            id=budget.pk,
            name=budget.name,
            covers=Covers(budget.covers),
            subject_id=budget.subject_id,
            measure=Measure(budget.measure),
            period=Period(budget.period),
            amount=_text(budget.amount),
            used=_text(standing.spent),
            reserved=_text(standing.reserved),
            left=_text(max(standing.left, Decimal(0))),
            begins_anew=standing.ends(),
            created_at=budget.created_at,
        )


def _text(amount: Decimal) -> str:
    return decimal_text(amount) or "0"
