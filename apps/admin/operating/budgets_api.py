"""``/api/v1/admin/budgets`` for owners and admins; ``/api/v1/budgets`` for whom budgets bind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Router, Status

from somaagent.problems import PROBLEMS, Problem
from somaagent.tenancy.budgets.models import Budget
from somaagent.tenancy.budgets.selectors import budgets_that_bind
from somaagent.web.idempotency import IdempotencyKey, idempotency_of
from somaagent.web.pagination import Page, PageQuery
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from . import budgets
from .budgets_schemas import BudgetIn, BudgetOut, BudgetPatch
from .paging import page_told

router = Router(tags=["budgets"])
router.add_decorator(in_tenant_of_actor)


@router.get("/budgets", response={200: Page[BudgetOut], **PROBLEMS})
def list_own_budgets(request: HttpRequest, page: Query[PageQuery]) -> Any:
    """What the caller may run into: budgets of the tenant, theirs, their keys', and those of agents."""
    return page_told(budgets_that_bind(actor=actor_of(request)), page, _told)


@router.get("/admin/budgets", response={200: Page[BudgetOut], **PROBLEMS})
def list_budgets(request: HttpRequest, page: Query[PageQuery]) -> Any:
    """All budgets of the tenant, newest first, with how they stand. For owners and admins."""
    return page_told(budgets.budget_list(actor=actor_of(request)), page, _told)


@router.post("/admin/budgets", response={201: BudgetOut, 409: Problem, **PROBLEMS})
def create_budget(request: HttpRequest, body: BudgetIn, idempotency_key: IdempotencyKey = None) -> Any:
    """Bound what the tenant, a user, a key or an agent spends. What its period has used counts already."""
    made = budgets.budget_make(
        actor=actor_of(request), **body.facts(), idempotency=idempotency_of(idempotency_key, body)
    )
    return Status(201, BudgetOut.of(made))


@router.get("/admin/budgets/{uuid:budget_id}", response={200: BudgetOut, **PROBLEMS})
def read_budget(request: HttpRequest, budget_id: UUID) -> Any:
    return BudgetOut.of(budgets.budget_get(actor=actor_of(request), budget_id=budget_id))


@router.patch("/admin/budgets/{uuid:budget_id}", response={200: BudgetOut, **PROBLEMS})
def change_budget(request: HttpRequest, budget_id: UUID, body: BudgetPatch) -> Any:
    """Another name or amount. It binds from the next step on."""
    changed = budgets.budget_change(actor=actor_of(request), budget_id=budget_id, changes=body.changes())
    return BudgetOut.of(changed)


@router.delete("/admin/budgets/{uuid:budget_id}", response={204: None, **PROBLEMS})
def delete_budget(request: HttpRequest, budget_id: UUID) -> Any:
    """Bound nothing by it any more. The ledger keeps what was used."""
    budgets.budget_delete(actor=actor_of(request), budget_id=budget_id)
    return Status(204, None)


def _told(rows: Sequence[Budget]) -> list[BudgetOut]:
    return [BudgetOut.of(row) for row in rows]
