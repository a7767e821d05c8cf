"""People whom an identity provider sends: the place that they get in a tenant."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import structlog
from django.db import connection

from .audit.entries import Who, audit_entry_create
from .models import Membership, Role, Tenant, User
from .owners import left_without_owner
from .scope import tenant_scope

logger = structlog.get_logger(__name__)


def live_tenant_by_slug(slug: str) -> Tenant | None:
    """The tenant of this slug; None where there is none, or it is suspended."""
    return Tenant.objects.filter(slug=slug, suspended_at=None).first()


def tenant_ids_of(*, user_id: UUID) -> list[UUID]:
    """The tenants that a user is a member of, suspended ones too."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM tenancy_tenants_of_user(%s)", [user_id])
        return [row[0] for row in cursor.fetchall()]


def membership_arrive(*, tenant_id: UUID, user: User, role: Role, follows: bool) -> Membership:
    """The user's membership: a new one with ``role``, or theirs, which gets it where ``follows``.

    The last owner of a tenant stays one: nobody could give the role back.
    """
    with tenant_scope(tenant_id):
        found, made = Membership.objects.select_for_update().get_or_create(
            tenant_id=tenant_id, user=user, defaults={"role": role}
        )
        if made:
            _tell(found, "created", {"role": role})
        if made or not follows or found.role == role:
            return found
        if found.role == Role.OWNER and left_without_owner(leaving=[user.pk], tenant_id=tenant_id):
            logger.warning("membership.last_owner_kept", user_id=str(user.pk), role=role)
            return found
        before, found.role = found.role, role
        found.save(update_fields=["role"])
        _tell(found, "changed", {"role": {"from": before, "to": role}})
        return found


def _tell(membership: Membership, what: str, facts: dict[str, Any]) -> None:
    """Nobody of the tenant did it but who came, by what their provider says of them."""
    audit_entry_create(
        by=Who(membership.user_id, "browser"),
        action=f"membership.{what}",
        target_type="membership",
        target_id=membership.id,
        facts={"user": membership.user_id, "by": "identity provider", **facts},
    )
