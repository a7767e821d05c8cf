"""Tenants, as operators of the platform deal with them: who may come in at all, and how much they may ask.

What is in a tenant is its own. Of its rows an operator is told how many members and owners it has, which
functions of the database count. What is done to a tenant is told in its own audit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import BigIntegerField, Func, Q, QuerySet
from django.utils import timezone

from somaagent.errors import Kind, SomaError, not_found

from . import invitations
from .audit.entries import audit_entry_create, differences
from .idempotency import Idempotency
from .models import Invitation, Tenant
from .operators import Operator, stood_down
from .scope import tenant_scope
from .services import room_for_tenant


@dataclass(frozen=True, slots=True)
class FirstOwner:
    """Whom a new tenant's first owner's invitation is for, in the operator's words, and until when."""

    name: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Invited:
    """An owner's invitation and its token; None where it was made before by the same request."""

    invitation: Invitation
    token: str | None


def tenant_list(*, search: str = "", suspended: bool | None = None) -> QuerySet[Tenant]:
    """All tenants, with how many ``members`` and ``owners`` each has."""
    rows = counted(Tenant.objects.all())
    if search:
        rows = rows.filter(Q(name__icontains=search) | Q(slug__icontains=search))
    return rows if suspended is None else rows.filter(suspended_at__isnull=not suspended)


def counted(rows: QuerySet[Tenant]) -> QuerySet[Tenant]:
    """The same rows, with their ``members`` and ``owners``."""
    return rows.annotate(
        members=Func("id", function="tenancy_members_of", output_field=BigIntegerField()),
        owners=Func("id", function="tenancy_owners_of", output_field=BigIntegerField()),
    )


def tenant_get(*, tenant_id: UUID) -> Tenant:
    tenant = tenant_list().filter(pk=tenant_id).first()
    if tenant is None:
        raise not_found("tenant")
    return tenant


def tenant_make(
    *,
    operator: Operator,
    slug: str,
    name: str,
    requests_per_minute: int | None = None,
    first_owner: FirstOwner | None = None,
    idempotency: Idempotency | None = None,
) -> tuple[Tenant, Invited | None]:
    """A new tenant, and where ``first_owner`` is given an invitation for whoever is to own it.

    Raises ``slug_taken``, and ``one_tenant_only`` where there is room for one alone.
    """
    mine = Tenant.objects.filter(made_by=operator.user.pk)
    if idempotency and (existing := idempotency.find(mine)):
        return _made_before(existing, first_owner)
    facts = {"slug": slug, "name": name, "requests_per_minute": requests_per_minute}
    try:
        with transaction.atomic():
            room_for_tenant()
            tenant = Tenant.objects.create(
                **facts, made_by=operator.user.pk, **(idempotency.columns() if idempotency else {})
            )
    except IntegrityError as error:
        # Sent twice at the same moment: the other one was first.
        if idempotency and (existing := idempotency.find(mine)):
            return _made_before(existing, first_owner)
        sentence = f"Another tenant has the slug “{slug}”: choose another."
        raise SomaError(Kind.CONFLICT, "slug_taken", sentence, field="body.slug") from error
    with tenant_scope(tenant.id):
        invited = _invited(operator, tenant, first_owner) if first_owner else None
        _told(operator, tenant, "created", facts)
    return tenant_get(tenant_id=tenant.id), invited


def tenant_change(*, operator: Operator, tenant_id: UUID, changes: Mapping[str, Any]) -> Tenant:
    """``changes``: of ``name`` and ``requests_per_minute`` what is to be another."""
    with transaction.atomic():
        tenant = _locked(operator, tenant_id)
        told = differences({name: getattr(tenant, name) for name in changes}, changes)
        for name in told:
            setattr(tenant, name, changes[name])
        if told:
            tenant.save(update_fields=list(told))
            _told(operator, tenant, "changed", {"values": told})
    return tenant_get(tenant_id=tenant_id)


def tenant_suspend(*, operator: Operator, tenant_id: UUID) -> Tenant:
    """Shut it: every credential of it, and every stream that is open with one, is dead at once.

    Raises ``own_tenant`` for the tenant of the credential that asks. A second time changes nothing.
    """
    with transaction.atomic():
        tenant = _locked(operator, tenant_id)
        if tenant.id == operator.tenant_id:
            sentence = "Your own credential is of this tenant: have an operator of another one do it."
            raise SomaError(Kind.CONFLICT, "own_tenant", sentence)
        if tenant.suspended_at is None:
            _set_suspended(operator, tenant, timezone.now())
    return tenant_get(tenant_id=tenant_id)


def tenant_resume(*, operator: Operator, tenant_id: UUID) -> Tenant:
    """Let its people, keys and schedules in again. What was cut off connects anew."""
    with transaction.atomic():
        tenant = _locked(operator, tenant_id)
        if tenant.suspended_at is not None:
            _set_suspended(operator, tenant, None)
    return tenant_get(tenant_id=tenant_id)


def owner_invite(
    *,
    operator: Operator,
    tenant_id: UUID,
    first_owner: FirstOwner,
    idempotency: Idempotency | None = None,
) -> Invited:
    """An owner's invitation, where a tenant has none who can act; earlier ones are revoked.

    Raises ``owner_there``: who is in a tenant is for its owners to say.
    """
    with transaction.atomic():
        tenant = _locked(operator, tenant_id)
        with tenant_scope(tenant.id):
            if idempotency and (existing := idempotency.find(invitations.owner_invitation_list())):
                return Invited(existing, None)
            if tenant_get(tenant_id=tenant.id).owners:  # type: ignore[attr-defined]  # annotated
                sentence = "This tenant has an owner, who invites others: ask them."
                raise SomaError(Kind.CONFLICT, "owner_there", sentence)
            invitations.owner_invitations_revoke(by=operator.who)
            return _invited(operator, tenant, first_owner, idempotency)


def _locked(operator: Operator, tenant_id: UUID) -> Tenant:
    """The tenant's row, locked with that of the operator's own, in one order."""
    wanted = Tenant.objects.filter(Q(pk=tenant_id) | Q(pk=operator.tenant_id))
    # Rows that name a tenant are added meanwhile: they wait for no lock but one on its key.
    rows = {row.pk: row for row in wanted.order_by("pk").select_for_update(no_key=True)}
    own = rows.get(operator.tenant_id) if operator.tenant_id else None
    if own is not None and own.suspended_at is not None:
        raise stood_down()
    if tenant_id not in rows:
        raise not_found("tenant")
    return rows[tenant_id]


def _set_suspended(operator: Operator, tenant: Tenant, moment: datetime | None) -> None:
    tenant.suspended_at = moment
    # Its receiver (``receivers``) has every process look at the streams that are open.
    tenant.save(update_fields=["suspended_at"])
    _told(operator, tenant, "suspended" if moment else "resumed")


def _invited(
    operator: Operator, tenant: Tenant, first_owner: FirstOwner, idempotency: Idempotency | None = None
) -> Invited:
    """Within the tenant's scope."""
    invitation, token = invitations.owner_invitation_create(
        tenant_id=tenant.id,
        by=operator.who,
        name=first_owner.name,
        expires_at=first_owner.expires_at,
        idempotency=idempotency,
    )
    return Invited(invitation, token)


def _made_before(tenant: Tenant, first_owner: FirstOwner | None) -> tuple[Tenant, Invited | None]:
    found = tenant_get(tenant_id=tenant.id)
    if first_owner is None:
        return found, None
    with tenant_scope(tenant.id):
        return found, Invited(invitations.owner_invitation_list().earliest("id"), None)


def _told(operator: Operator, tenant: Tenant, what: str, facts: Mapping[str, Any] | None = None) -> None:
    """In the tenant's own audit, whoever did it: its owners see that an operator was there."""
    with tenant_scope(tenant.id):
        audit_entry_create(
            by=operator.who,
            action=f"tenant.{what}",
            target_type="tenant",
            target_id=tenant.id,
            facts={**(facts or {}), "as_operator": True},
        )
