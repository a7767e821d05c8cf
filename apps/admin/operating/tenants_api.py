"""``/api/v1/admin/tenants``: operators make, change, suspend and resume tenants."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Router, Status

from somaagent.problems import PROBLEMS, Problem
from somaagent.tenancy import tenants
from somaagent.web.idempotency import IdempotencyKey, idempotency_of
from somaagent.web.pagination import Page, PageQuery, page_of
from somaagent.web.security import in_tenant_of_actor

from .tenants_schemas import (
    FirstOwnerIn,
    OwnerInvitation,
    TenantIn,
    TenantMade,
    TenantOut,
    TenantPatch,
    TenantQuery,
)
from .who import operator_of

router = Router(tags=["operators: tenants"])
router.add_decorator(in_tenant_of_actor)
VIEW, ADD, CHANGE = "tenancy.view_tenant", "tenancy.add_tenant", "tenancy.change_tenant"


@router.get("", response={200: Page[TenantOut], **PROBLEMS})
def list_tenants(request: HttpRequest, page: Query[PageQuery], wanted: Query[TenantQuery]) -> Any:
    """All tenants, newest first, with how many members and owners each has."""
    operator_of(request, VIEW)
    return page_of(tenants.tenant_list(**wanted.asked()), page)


@router.post("", response={201: TenantMade, 409: Problem, **PROBLEMS})
def create_tenant(request: HttpRequest, body: TenantIn, idempotency_key: IdempotencyKey = None) -> Any:
    """A new tenant, and the invitation of its first owner, whose token is in this answer alone."""
    tenant, invited = tenants.tenant_make(
        operator=operator_of(request, ADD),
        **body.facts(),
        idempotency=idempotency_of(idempotency_key, body),
    )
    return Status(201, TenantMade.of(tenant, invited))


@router.get("/{uuid:tenant_id}", response={200: TenantOut, **PROBLEMS})
def read_tenant(request: HttpRequest, tenant_id: UUID) -> Any:
    operator_of(request, VIEW)
    return tenants.tenant_get(tenant_id=tenant_id)


@router.patch("/{uuid:tenant_id}", response={200: TenantOut, 409: Problem, **PROBLEMS})
def change_tenant(request: HttpRequest, tenant_id: UUID, body: TenantPatch) -> Any:
    """Another name, or another limit of requests, which counts with the next one."""
    operator = operator_of(request, CHANGE)
    return tenants.tenant_change(operator=operator, tenant_id=tenant_id, changes=body.changes())


@router.post("/{uuid:tenant_id}/suspend", response={200: TenantOut, 409: Problem, **PROBLEMS})
def suspend_tenant(request: HttpRequest, tenant_id: UUID) -> Any:
    """Every credential of it is dead at once, and every stream ends. Not the tenant of the caller's own."""
    return tenants.tenant_suspend(operator=operator_of(request, CHANGE), tenant_id=tenant_id)


@router.post("/{uuid:tenant_id}/resume", response={200: TenantOut, 409: Problem, **PROBLEMS})
def resume_tenant(request: HttpRequest, tenant_id: UUID) -> Any:
    """Its people and keys are let in again."""
    return tenants.tenant_resume(operator=operator_of(request, CHANGE), tenant_id=tenant_id)


@router.post("/{uuid:tenant_id}/owner-invitations", response={201: OwnerInvitation, 409: Problem, **PROBLEMS})
def invite_owner(
    request: HttpRequest, tenant_id: UUID, body: FirstOwnerIn, idempotency_key: IdempotencyKey = None
) -> Any:
    """Another invitation for the first owner of a tenant that has none. Earlier ones are revoked."""
    invited = tenants.owner_invite(
        operator=operator_of(request, CHANGE),
        tenant_id=tenant_id,
        first_owner=body.asked(),
        idempotency=idempotency_of(idempotency_key, body),
    )
    return Status(201, OwnerInvitation.of(invited))
