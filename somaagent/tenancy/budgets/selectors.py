"""Reads of budgets for an overview. All run inside the tenant's scope."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.db.models import (
    Case,
    DateField,
    DecimalField,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    Subquery,
    Sum,
    When,
)
from django.db.models import Value as Given
from django.db.models.functions import Coalesce
from django.utils import timezone

from .models import Budget, BudgetCount, Period, Reservation
from .services import period_start

# Of its amount: from there on a budget is close to its limit.
CLOSE = Decimal("0.8")
_NUMBER: DecimalField[Decimal, Decimal] = DecimalField(max_digits=40, decimal_places=12)
_NOTHING = Given(Decimal(0), output_field=_NUMBER)


@dataclass(frozen=True, slots=True)
class Tight:
    """A budget close to its amount, or over it. ``used``: spent in its period, or reserved."""

    id: UUID
    name: str
    covers: str
    measure: str
    period: str
    amount: Decimal
    used: Decimal

    @property
    def is_used_up(self) -> bool:
        return self.used >= self.amount

    @property
    def percent(self) -> int:
        """Rounded down; a budget of 0 is used up from the beginning."""
        return int(self.used * 100 / self.amount) if self.amount else 100


def tight_budgets(*, most: int) -> list[Tight]:
    """Those of which four fifths or more are used in the running period, the fullest first."""
    starts = {period: period_start(period) for period in Period.values}
    begins = Case(
        *(When(period=period, then=Given(day)) for period, day in starts.items()), output_field=DateField()
    )
    spent = BudgetCount.objects.filter(budget=OuterRef("pk"), starts=OuterRef("begins")).values("spent")[:1]
    live = Reservation.objects.filter(budget=OuterRef("pk"), expires_at__gt=timezone.now())
    reserved = live.order_by().values("budget").annotate(held=Sum("amount")).values("held")
    rows = (
        Budget.objects.annotate(begins=begins)
        .annotate(
            used=ExpressionWrapper(
                Coalesce(Subquery(spent), _NOTHING, output_field=_NUMBER)
                + Coalesce(Subquery(reserved), _NOTHING, output_field=_NUMBER),
                output_field=_NUMBER,
            )
        )
        .filter(Q(used__gte=F("amount") * CLOSE))
        .annotate(share=Case(When(amount=0, then=Given(Decimal(1))), default=F("used") / F("amount")))
        .order_by("-share", "pk")[:most]
    )
    return [
        Tight(row.id, row.name, row.get_covers_display(), row.measure, row.period, row.amount, row.used)
        for row in rows
    ]
