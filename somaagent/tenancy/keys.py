"""API keys, as their users and those who manage members deal with them. All run in the tenant's scope."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import IntegrityError, models, transaction
from django.utils import timezone

from somaagent.errors import Kind, SomaError, invalid, not_found

from . import members, services
from .actor import Actor
from .idempotency import Idempotency
from .models import ApiKey, Scope, default_scopes
from .operators import require_operator

if TYPE_CHECKING:
    from django.db.models import QuerySet

MOST_KEYS = 100


def api_key_list(*, actor: Actor, everyone: bool = False) -> QuerySet[ApiKey]:
    """The actor's keys; with ``everyone`` all of the tenant, for owners and admins."""
    keys = ApiKey.objects.select_related("user")
    if everyone:
        members.require_manager(actor)
        return keys
    return keys.filter(user_id=actor.user_id)


def api_key_get(*, actor: Actor, key_id: UUID) -> ApiKey:
    """A key of the actor's, or for owners and admins of anybody in the tenant."""
    key = api_key_list(actor=actor, everyone=members.manages(actor)).filter(id=key_id).first()
    if key is None:
        raise not_found("API key")
    return key


def api_key_make(
    *,
    actor: Actor,
    name: str,
    scopes: Sequence[str] | None = None,
    expires_at: datetime | None = None,
    idempotency: Idempotency | None = None,
) -> tuple[ApiKey, str | None]:
    """A new key of the actor's and its text; None where it was made before by the same request.

    It may do no more than the credential that makes it. By default it reads and writes as far as that does;
    ``operate`` is for operators of the platform who ask for it.
    """
    mine = api_key_list(actor=actor)
    if idempotency and (existing := idempotency.find(mine)):
        return existing, None
    wanted = sorted(actor.scopes.intersection(default_scopes()) if scopes is None else set(scopes))
    for scope in wanted:
        actor.require(scope)
    if Scope.OPERATE in wanted:
        require_operator(actor, "tenancy.add_apikey")
    if expires_at is not None and expires_at <= timezone.now():
        raise invalid("body.expires_at", "This time has passed: choose a later one, or leave it out.")
    _refuse_too_many(mine)
    try:
        with transaction.atomic():
            return services.api_key_create(
                tenant_id=actor.tenant_id,
                user_id=actor.user_id,
                name=name,
                scopes=wanted,
                expires_at=expires_at,
                idempotency=idempotency,
                by=actor,
            )
    except IntegrityError:
        # Sent twice at the same moment: the other one was first.
        if idempotency and (existing := idempotency.find(mine)):
            return existing, None
        raise


def api_key_end(*, actor: Actor, key_id: UUID) -> None:
    """Revoke a key, at once. What was revoked before stays so."""
    key = api_key_get(actor=actor, key_id=key_id)
    if key.user_id != actor.user_id:
        members.require_manager_of(actor, user_id=key.user_id)
    if key.revoked_at is None:
        services.api_key_revoke(actor=actor, key_id=key.id)


def _refuse_too_many(mine: QuerySet[ApiKey]) -> None:
    expired = models.Q(expires_at__lte=timezone.now())
    if mine.filter(revoked_at=None).exclude(expired).count() >= MOST_KEYS:
        sentence = f"A user has at most {MOST_KEYS} live API keys: revoke one that is no longer needed."
        raise SomaError(Kind.CONFLICT, "api_keys_too_many", sentence)
