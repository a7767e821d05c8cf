"""Entries on users, who belong to tenants by their memberships."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import connection

from somaagent.tenancy.models import User
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.selectors import actor_by_user

from .entries import Who, audit_entry_create, audit_without_tenant


def audit_of_user(
    *,
    user: User | None,
    by: Who,
    action: str,
    facts: Mapping[str, Any] | None = None,
    chosen: UUID | None = None,
) -> None:
    """An entry in the tenant that the user signs in to, or would; in the log for who belongs to none.

    ``chosen``: the tenant that they work in, where they chose one and belong there still.
    """
    tenant_id = _home_of(user.pk, chosen) if user is not None else None
    target_id = user.pk if user is not None else ""
    if tenant_id is None:
        audit_without_tenant(by=by, action=action, target_type="user", target_id=target_id)
        return
    with tenant_scope(tenant_id):
        audit_entry_create(by=by, action=action, target_type="user", target_id=target_id, facts=facts)


def _home_of(user_id: UUID, chosen: UUID | None) -> UUID | None:
    """Who is disabled, or whose tenants are all suspended, is told of where they were a member first."""
    there = actor_by_user(user_id, chosen) if chosen else None
    if (actor := there or actor_by_user(user_id)) is not None:
        return actor.tenant_id
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM tenancy_tenants_of_user(%s)", [user_id])
        row = cursor.fetchone()
    return row[0] if row is not None else None
