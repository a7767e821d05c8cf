"""Writes: tenants, users, memberships, API keys."""

from __future__ import annotations

import secrets
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from somaagent.errors import Kind, SomaError, not_found

from .actor import Actor
from .audit.entries import audit_entry_create, who
from .audit.people import audit_of_user
from .idempotency import Idempotency
from .models import ApiKey, Membership, Role, Tenant, User, default_scopes
from .scope import tenant_scope
from .selectors import key_digest
from .standing import look_again

KEY_PREFIX = "sa_"
KEY_BYTES = 32
PREFIX_SHOWN = 11
ONE_TIME_PASSWORD_BYTES = 15
_TENANTS_LOCK = 0x736F6D6174656E61  # "somatena", the key of PostgreSQL's advisory lock


def tenant_create(*, slug: str, name: str, tenant_id: UUID | None = None) -> Tenant:
    """One more tenant; ``tenant_id`` is its id elsewhere. 409 where there is room for one alone."""
    with transaction.atomic():
        room_for_tenant()
        known = {"id": tenant_id} if tenant_id else {}
        return Tenant.objects.create(slug=slug, name=name, **known)


def room_for_tenant() -> None:
    """409 where the installation is for one tenant (``MANY_TENANTS``) and has it.

    In a transaction, until whose end nobody else makes one.
    """
    if settings.MANY_TENANTS:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_TENANTS_LOCK])
    there = Tenant.objects.order_by("id").first()
    if there is not None:
        message = (
            f"This installation is for one tenant, and has {there.slug!r}. Run it for many "
            f"(SA01_DEPLOYMENT_MODE=SAAS), or erase that one first (manage.py tenant erase)."
        )
        raise SomaError(Kind.CONFLICT, "one_tenant_only", message)


def user_create(*, username: str, password: str, is_staff: bool = False, one_time: bool = False) -> User:
    """A user who signs in with ``password``; ``one_time`` makes them choose another at once."""
    return User.objects.create_user(
        username=username,
        password=password,
        is_staff=is_staff,
        is_superuser=is_staff,
        password_is_one_time=one_time,
    )


def user_set_password(*, user: User, password: str, one_time: bool = False, by: Actor | None = None) -> None:
    """``by``: who chose it; nobody, where it was done at the command line."""
    user.set_password(password)
    user.password_is_one_time = one_time
    with transaction.atomic():
        user.save(update_fields=["password", "password_is_one_time"])
        audit_of_user(user=user, by=who(by), action="user.password_changed", facts={"one_time": one_time})


def one_time_password() -> str:
    """120 random bits, in characters that a person can type."""
    return secrets.token_urlsafe(ONE_TIME_PASSWORD_BYTES)


def membership_create(*, tenant: Tenant, user: User, role: Role) -> Membership:
    with tenant_scope(tenant.id):
        return Membership.objects.create(tenant=tenant, user=user, role=role)


def api_key_create(
    *,
    tenant_id: UUID,
    user_id: UUID,
    name: str,
    scopes: list[str] | None = None,
    expires_at: datetime | None = None,
    requests_per_minute: int | None = None,
    idempotency: Idempotency | None = None,
    by: Actor | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its text. The text is not kept: this is the one time that it can be shown.

    ``by``: who makes it; nobody, where it is done at the command line.
    """
    text = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    with tenant_scope(tenant_id):
        key = ApiKey.objects.create(
            tenant_id=tenant_id,
            user_id=user_id,
            name=name,
            prefix=text[:PREFIX_SHOWN],
            digest=key_digest(text),
            scopes=scopes or default_scopes(),
            expires_at=expires_at,
            requests_per_minute=requests_per_minute,
            **(idempotency.columns() if idempotency else {}),
        )
        audit_entry_create(
            by=who(by),
            action="api_key.created",
            target_type="api_key",
            target_id=key.id,
            facts={"name": name, "prefix": key.prefix, "user": user_id, **_granted(key)},
        )
    return key, text


def _granted(key: ApiKey) -> dict[str, object]:
    return {
        "scopes": list(key.scopes),
        "expires_at": key.expires_at and key.expires_at.isoformat(),
        "requests_per_minute": key.requests_per_minute,
    }


def api_key_revoke(*, actor: Actor, key_id: UUID) -> None:
    with tenant_scope(actor.tenant_id):
        changed = ApiKey.objects.filter(id=key_id, revoked_at=None).update(revoked_at=timezone.now())
        look_again()
        if not changed:
            raise not_found("API key")
        audit_entry_create(by=who(actor), action="api_key.revoked", target_type="api_key", target_id=key_id)
