"""Reads: who a credential stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from . import pool
from .actor import Actor
from .models import Membership, Role, Scope, Tenant

ALL_SCOPES = frozenset(Scope.values)
VIEWER_SCOPES = frozenset({Scope.READ.value})

BY_API_KEY = (
    "SELECT tenant_id, user_id, role, scopes, key_id, key_rate, tenant_rate "
    "FROM tenancy_actor_by_api_key(%(digest)s)"
)
_BY_USER = (
    "SELECT tenant_id, role, tenant_rate, has_second_factor "
    "FROM tenancy_actor_by_user(%(user)s, %(chosen)s::uuid)"
)
_BELONGINGS = "SELECT tenant_id, tenant_name, role FROM tenancy_belongings(%(user)s)"


def scopes_of(role: str, granted: frozenset[str] = ALL_SCOPES) -> frozenset[str]:
    """What a role leaves of the scopes that a credential was granted."""
    return granted & VIEWER_SCOPES if role == Role.VIEWER else granted


def key_digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def actor_by_api_key(key: str) -> Actor | None:
    """The actor of a live key; None when it is unknown, expired, revoked, or its user or tenant is off.

    Notes, at most once a minute, that the key was used.
    """
    with connection.cursor() as cursor:
        cursor.execute(BY_API_KEY, {"digest": key_digest(key)})
        return keyed(cursor.fetchall())


async def actor_by_api_key_async(key: str) -> Actor | None:
    """The same, over the pool of coroutines: one statement, one way there and back."""
    async with pool.database() as database:
        (rows,) = await database.batch([(BY_API_KEY, {"digest": key_digest(key)})])
    return keyed(rows)


def keyed(rows: Sequence[tuple[Any, ...]]) -> Actor | None:
    """The actor in the rows of ``BY_API_KEY``."""
    if not rows:
        return None
    tenant_id, user_id, role, scopes, key_id, key_rate, tenant_rate = rows[0]
    return Actor(
        tenant_id=tenant_id,
        user_id=user_id,
        role=role,
        scopes=scopes_of(role, frozenset(scopes)),
        via="api_key",
        key_id=key_id,
        key_rate=key_rate,
        tenant_rate=tenant_rate,
    )


class SignedIn(NamedTuple):
    """A browser's actor, and whether they have set up a second factor."""

    actor: Actor
    has_second_factor: bool


class Belonging(NamedTuple):
    """One of the organisations that a user may work in, and as what."""

    tenant_id: UUID
    tenant_name: str
    role: str


def actor_by_user(user_id: UUID, chosen: UUID | None = None) -> Actor | None:
    """The actor of a signed-in user: their first membership in a tenant that is not suspended.

    Where they have ``chosen`` a tenant, their membership there, or none.
    """
    found = signed_in(user_id, chosen)
    return found.actor if found else None


def signed_in(user_id: UUID, chosen: UUID | None = None, session_key: str | None = None) -> SignedIn | None:
    """The same, with what else is asked of a browser's session."""
    with connection.cursor() as cursor:
        cursor.execute(_BY_USER, {"user": user_id, "chosen": chosen})
        return _signed_in(user_id, session_key, cursor.fetchone())


async def signed_in_async(
    user_id: UUID, chosen: UUID | None = None, session_key: str | None = None
) -> SignedIn | None:
    """The same, over the pool of coroutines."""
    async with pool.database() as database:
        (rows,) = await database.batch([(_BY_USER, {"user": user_id, "chosen": chosen})])
    return _signed_in(user_id, session_key, rows[0] if rows else None)


def _signed_in(user_id: UUID, session_key: str | None, row: tuple[Any, ...] | None) -> SignedIn | None:
    if row is None:
        return None
    tenant_id, role, tenant_rate, has_second_factor = row
    actor = Actor(
        tenant_id=tenant_id,
        user_id=user_id,
        role=role,
        scopes=scopes_of(role),
        via="browser",
        tenant_rate=tenant_rate,
        session_key=session_key,
    )
    return SignedIn(actor, has_second_factor)


def belongings(user_id: UUID) -> list[Belonging]:
    """The organisations that a user may work in, the one that they joined first before the others."""
    with connection.cursor() as cursor:
        cursor.execute(_BELONGINGS, {"user": user_id})
        return [Belonging(*row) for row in cursor.fetchall()]


def actor_in_tenant(*, user_id: UUID, tenant_id: UUID) -> Actor | None:
    """A user as the actor of what they left to be done, with the role that they have now.

    None when they are disabled or no longer a member. Runs inside the tenant's scope.
    """
    live = Membership.objects.filter(user_id=user_id, tenant_id=tenant_id, user__is_active=True)
    role = live.values_list("role", flat=True).first()
    if role is None:
        return None
    return Actor(tenant_id=tenant_id, user_id=user_id, role=role, scopes=scopes_of(role), via="schedule")


def live_tenant_ids() -> list[UUID]:
    """The tenants that are not suspended."""
    return list(Tenant.objects.filter(suspended_at=None).order_by("id").values_list("id", flat=True))


def tenant_ids() -> list[UUID]:
    """Every tenant, for the work that the platform does by itself in each of them."""
    return list(Tenant.objects.order_by("id").values_list("id", flat=True))
