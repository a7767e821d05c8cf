"""Reads of budgets with how they stand. All run inside the tenant's scope."""

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
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce
from django.utils import timezone

from somaagent.errors import not_found
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import ApiKey

from .models import Budget, BudgetCount, Covers, Period, Reservation
from .services import period_start
from .standing import Standing

# Of its amount: from there on a budget is close to its limit.
CLOSE = Decimal("0.8")
_AMOUNT: DecimalField[Decimal, Decimal] = DecimalField(max_digits=30, decimal_places=12)


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


def with_standing(rows: QuerySet[Budget]) -> QuerySet[Budget]:
    """The same rows with ``spent_now`` and ``reserved_now`` of their running periods."""
    now = timezone.now()
    starts = Case(
        When(period=Period.DAY, then=Value(period_start(Period.DAY))),
        default=Value(period_start(Period.MONTH)),
        output_field=DateField(),
    )
    counted = BudgetCount.objects.filter(budget=OuterRef("pk"), starts=OuterRef("starts_now"))
    held = Reservation.objects.filter(budget=OuterRef("pk"), expires_at__gt=now).order_by().values("budget")
    nothing = Value(Decimal(0), output_field=_AMOUNT)
    return rows.annotate(starts_now=starts).annotate(
        spent_now=Coalesce(Subquery(counted.values("spent")[:1]), nothing, output_field=_AMOUNT),
        reserved_now=Coalesce(
            Subquery(held.annotate(held=Sum("amount")).values("held")), nothing, output_field=_AMOUNT
        ),
    )


def standing_of(budget: Budget) -> Standing:
    """Of a row of ``with_standing``."""
    return Standing(
        name=budget.name,
        covers=budget.covers,
        subject_id=budget.subject_id,
        measure=budget.measure,
        period=budget.period,
        amount=budget.amount,
        spent=budget.spent_now,  # type: ignore[attr-defined]  # annotated
        reserved=budget.reserved_now,  # type: ignore[attr-defined]  # as above
    )


def budget_list() -> QuerySet[Budget]:
    """Every budget of the tenant, with how it stands."""
    return with_standing(Budget.objects.all())


def budgets_that_bind(*, actor: Actor) -> QuerySet[Budget]:
    """Those that what the actor does may run into: the tenant's, theirs, their keys', those of agents."""
    keys = ApiKey.objects.filter(user_id=actor.user_id).values("id")
    return budget_list().filter(
        Q(covers__in=(Covers.TENANT, Covers.AGENT))
        | Q(covers=Covers.USER, subject_id=actor.user_id)
        | Q(covers=Covers.API_KEY, subject_id__in=keys)
    )


def budget_get(*, budget_id: UUID) -> Budget:
    budget = budget_list().filter(pk=budget_id).first()
    if budget is None:
        raise not_found("budget")
    return budget


def tight_budgets(*, most: int) -> list[Tight]:
    """Those of which four fifths or more are used in the running period, the fullest first."""
    used = ExpressionWrapper(F("spent_now") + F("reserved_now"), output_field=_AMOUNT)
    rows = (
        budget_list()
        .annotate(used=used)
        .filter(Q(used__gte=F("amount") * CLOSE))
        .annotate(share=Case(When(amount=0, then=Value(Decimal(1))), default=F("used") / F("amount")))
        .order_by("-share", "pk")[:most]
    )
    return [
        Tight(row.id, row.name, row.get_covers_display(), row.measure, row.period, row.amount, row.used)
        for row in rows
    ]
