"""Writes: budgets. All run inside the tenant's scope."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Sum
from django.utils import timezone

from somaagent.tenancy.audit.entries import differences
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.ledger.models import UsageRecord

from .models import Budget, BudgetCount, Covers, Measure, Period

_COLUMNS = {Covers.USER: "user_id", Covers.API_KEY: "api_key_id", Covers.AGENT: "agent_id"}


def budget_create(
    *,
    tenant_id: UUID,
    name: str,
    covers: str,
    measure: str,
    period: str,
    amount: Decimal,
    subject_id: UUID | None = None,
    idempotency: Idempotency | None = None,
) -> Budget:
    """A budget. What its running period has used already is taken from the ledger.

    ``subject_id``: see ``Budget``; that it is of the tenant is for the caller to know. Raises Django's
    ``ValidationError``.
    """
    budget = Budget(
        tenant_id=tenant_id,
        name=name,
        covers=covers,
        subject_id=subject_id,
        measure=measure,
        period=period,
        amount=amount,
        **(idempotency.columns() if idempotency else {}),
    )
    budget.full_clean(exclude=["tenant", "idempotency_key", "request_digest"])
    budget.save()
    budget_begin(budget)
    return budget


def budget_change(*, budget: Budget, changes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Another ``name`` or ``amount``, which binds from the next step on; gives from what to what.

    Raises Django's ``ValidationError``.
    """
    changed = differences({name: getattr(budget, name) for name in changes}, changes)
    for name in changed:
        setattr(budget, name, changes[name])
    if changed:
        budget.clean_fields(exclude=["tenant", "idempotency_key", "request_digest"])
        budget.clean()
        budget.save(update_fields=list(changed))
    return changed


def budgets_delete(*, budget_ids: Collection[UUID]) -> None:
    """Nothing is bound by them any more, what was counted for them is gone; the ledger stays.

    A step that is being counted is waited for; one that comes meanwhile waits, and finds them gone.
    """
    with transaction.atomic():
        held = Budget.objects.filter(pk__in=budget_ids).order_by("pk").select_for_update()
        Budget.objects.filter(pk__in=[budget.pk for budget in held]).delete()


def budget_begin(budget: Budget) -> None:
    """Count what a new budget's period has used before it was there."""
    starts = period_start(budget.period)
    BudgetCount.objects.create(
        tenant_id=budget.tenant_id, budget=budget, starts=starts, spent=_used(budget, starts)
    )


def period_start(period: str) -> date:
    """The first day (UTC) of the running one."""
    today = timezone.now().astimezone(UTC).date()
    return today if period == Period.DAY else today.replace(day=1)


def _used(budget: Budget, starts: date) -> Decimal:
    used = UsageRecord.objects.filter(created_at__gte=datetime.combine(starts, time(), UTC))
    if column := _COLUMNS.get(Covers(budget.covers)):
        used = used.filter(**{column: budget.subject_id})
    what = F("cost") if budget.measure == Measure.MONEY else F("input_tokens") + F("output_tokens")
    return Decimal(used.aggregate(used=Sum(what))["used"] or 0)
