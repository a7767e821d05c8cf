"""Entries on users, who belong to tenants by their memberships."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from somaagent.tenancy.models import User
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.selectors import actor_by_user

from .entries import Who, audit_entry_create, audit_without_tenant


def audit_of_user(*, user: User | None, by: Who, action: str, facts: Mapping[str, Any] | None = None) -> None:
    """An entry in the tenant that the user signs in to; in the log alone for who has none."""
    actor = actor_by_user(user.pk) if user is not None else None
    target_id = user.pk if user is not None else ""
    if actor is None:
        audit_without_tenant(by=by, action=action, target_type="user", target_id=target_id)
        return
    with tenant_scope(actor.tenant_id):
        audit_entry_create(by=by, action=action, target_type="user", target_id=target_id, facts=facts)
