"""Budgets of a tenant, as its owners and admins make and change them. All run in the tenant's scope."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from apps.sessions import selectors as sessions
from somaagent.errors import Kind, SomaError, invalid
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.entries import audit_entry_create, who
from somaagent.tenancy.budgets import selectors, services
from somaagent.tenancy.budgets.models import Budget, Covers
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.members import require_manager
from somaagent.tenancy.models import ApiKey, Membership

MOST_BUDGETS = 1_000


def budget_list(*, actor: Actor) -> QuerySet[Budget]:
    require_manager(actor)
    return selectors.budget_list()


def budget_get(*, actor: Actor, budget_id: UUID) -> Budget:
    require_manager(actor)
    return selectors.budget_get(budget_id=budget_id)


def budget_make(
    *,
    actor: Actor,
    name: str,
    covers: str,
    subject_id: UUID | None,
    measure: str,
    period: str,
    amount: Decimal,
    idempotency: Idempotency | None = None,
) -> Budget:
    """A new budget, with what its running period has used already.

    Raises ``budget_exists`` where there is one of the same subject, measure and period.
    """
    require_manager(actor)
    if idempotency and (existing := idempotency.find(Budget.objects.all())):
        return selectors.budget_get(budget_id=existing.pk)
    _refuse_unknown(covers, subject_id)
    if Budget.objects.count() >= MOST_BUDGETS:
        sentence = f"A tenant has at most {MOST_BUDGETS} budgets: delete those that nobody needs."
        raise SomaError(Kind.CONFLICT, "budgets_too_many", sentence)
    facts: dict[str, Any] = {
        "name": name,
        "covers": covers,
        "subject_id": subject_id,
        "measure": measure,
        "period": period,
    }
    try:
        with transaction.atomic():
            budget = services.budget_create(
                tenant_id=actor.tenant_id, **facts, amount=amount, idempotency=idempotency
            )
    except ValidationError as error:
        _refuse(error)
    except IntegrityError:
        # Sent twice at the same moment: the other one was first.
        if idempotency and (existing := idempotency.find(Budget.objects.all())):
            return selectors.budget_get(budget_id=existing.pk)
        raise _exists() from None
    _told(actor, budget.pk, "created", {**facts, "amount": amount})
    return selectors.budget_get(budget_id=budget.pk)


def budget_change(*, actor: Actor, budget_id: UUID, changes: Mapping[str, Any]) -> Budget:
    """``changes``: of ``name`` and ``amount`` what is to be another."""
    budget = budget_get(actor=actor, budget_id=budget_id)
    try:
        changed = services.budget_change(budget=budget, changes=changes)
    except ValidationError as error:
        _refuse(error)
    if changed:
        _told(actor, budget.pk, "changed", {"name": budget.name, "values": changed})
    return selectors.budget_get(budget_id=budget.pk)


def budget_delete(*, actor: Actor, budget_id: UUID) -> None:
    """As ``services.budgets_delete`` says."""
    budget = budget_get(actor=actor, budget_id=budget_id)
    facts = {"name": budget.name, "covers": budget.covers, "amount": budget.amount}
    services.budgets_delete(budget_ids=[budget_id])
    _told(actor, budget_id, "deleted", facts)


def _refuse_unknown(covers: str, subject_id: UUID | None) -> None:
    """Raise ``invalid`` unless the subject is one of the tenant's."""
    if covers == Covers.TENANT:
        if subject_id is not None:
            raise invalid("body.subject_id", "A budget of the whole tenant has no subject: leave it out.")
        return
    if subject_id is None:
        raise invalid("body.subject_id", f"Say which {Covers(covers).label} it covers.")
    known = {
        Covers.USER: Membership.objects.filter(user_id=subject_id),
        Covers.API_KEY: ApiKey.objects.filter(pk=subject_id, revoked_at=None),
        Covers.AGENT: sessions.agent_list().filter(pk=subject_id),
    }
    if not known[Covers(covers)].exists():
        raise invalid("body.subject_id", f"There is no such {Covers(covers).label}.")


def _refuse(error: ValidationError) -> NoReturn:
    """As our errors are: what stands twice, or the first input at fault."""
    if not hasattr(error, "error_dict") or "__all__" in error.error_dict:
        raise _exists() from error
    name, sentences = next(iter(error.message_dict.items()))
    raise invalid(f"body.{name}", " ".join(sentences)) from error


def _exists() -> SomaError:
    sentence = "There is a budget of this subject, measure and period already: change its amount."
    return SomaError(Kind.CONFLICT, "budget_exists", sentence)


def _told(actor: Actor, budget_id: UUID, what: str, facts: Mapping[str, Any]) -> None:
    audit_entry_create(
        by=who(actor), action=f"budget.{what}", target_type="budget", target_id=budget_id, facts=facts
    )
