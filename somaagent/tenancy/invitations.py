"""Invitations: who manages members passes a token on, and whoever shows it becomes a member, once.

No e-mail is sent. ``invitation_accept`` and ``invitation_shown`` open the tenant's scope themselves: who
shows a token belongs to no tenant yet. All others run in the tenant's scope.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from somaagent.errors import Kind, SomaError, invalid, not_found

from . import members
from .actor import Actor
from .audit.entries import Who, audit_entry_create, who
from .idempotency import Idempotency
from .models import Invitation, Membership, Role, User
from .scope import tenant_scope
from .selectors import key_digest

if TYPE_CHECKING:
    from django.db.models import QuerySet

TOKEN_PREFIX = "inv_"  # noqa: S105 it is what every token begins with
TOKEN_BYTES = 32
LASTS = timedelta(days=7)
LASTS_AT_MOST = timedelta(days=30)
MOST_OPEN = 200
_BY_TOKEN = "SELECT tenant_id, tenant_name, invitation_id FROM tenancy_invitation_by_token(%(digest)s)"  # noqa: S105 it is a query


@dataclass(frozen=True, slots=True)
class Shown:
    """What a token invites to: which tenant, as what, until when, and the name of who made it."""

    tenant_id: UUID
    tenant_name: str
    invitation_id: UUID
    role: str
    expires_at: datetime
    invited_by: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """What came of a token: the tenant's name, and the membership there."""

    tenant_name: str
    membership: Membership


def invitation_list(*, actor: Actor) -> QuerySet[Invitation]:
    members.require_manager(actor)
    return Invitation.objects.select_related("invited_by", "accepted_by")


def invitation_get(*, actor: Actor, invitation_id: UUID) -> Invitation:
    invitation = invitation_list(actor=actor).filter(id=invitation_id).first()
    if invitation is None:
        raise not_found("invitation")
    return invitation


def invitation_create(
    *,
    actor: Actor,
    role: str,
    name: str = "",
    expires_at: datetime | None = None,
    idempotency: Idempotency | None = None,
) -> tuple[Invitation, str | None]:
    """A new invitation and its token; None where it was made before by the same request."""
    members.require_manager(actor)
    members.require_owner_for(actor, role)
    mine = invitation_list(actor=actor).filter(invited_by_id=actor.user_id)
    if idempotency and (existing := idempotency.find(mine)):
        return existing, None
    until = _until(expires_at)
    if _open().count() >= MOST_OPEN:
        sentence = f"At most {MOST_OPEN} invitations are open at a time: revoke those that nobody will use."
        raise SomaError(Kind.CONFLICT, "invitations_too_many", sentence)
    try:
        with transaction.atomic():
            return _made(actor.tenant_id, actor.user_id, role, name, until, idempotency, by=who(actor))
    except IntegrityError:
        # Sent twice at the same moment: the other one was first.
        if idempotency and (existing := idempotency.find(mine)):
            return existing, None
        raise


def owner_invitation_create(
    *,
    tenant_id: UUID,
    by: Who,
    name: str = "",
    expires_at: datetime | None = None,
    idempotency: Idempotency | None = None,
) -> tuple[Invitation, str]:
    """An invitation for a tenant's first owner, by an operator (see ``tenants``).

    It names nobody who made it: an operator is none of the tenant's people, and moves nowhere with it.
    """
    until = _until(expires_at)
    return _made(tenant_id, None, Role.OWNER, name, until, idempotency, by=by, as_operator=True)


def owner_invitation_list() -> QuerySet[Invitation]:
    """Those that operators made, or people who are gone."""
    return Invitation.objects.filter(role=Role.OWNER, invited_by=None)


def owner_invitations_revoke(*, by: Who) -> None:
    """Nobody can become an owner by those that are open."""
    for invitation in _open().filter(role=Role.OWNER).select_for_update():
        invitation.revoked_at = timezone.now()
        invitation.save(update_fields=["revoked_at"])
        _tell(by, "revoked", invitation, as_operator=True)


def invitation_revoke(*, actor: Actor, invitation_id: UUID) -> None:
    """Nobody can accept it any more. One that was accepted, or revoked before, stays as it is."""
    invitation = invitation_get(actor=actor, invitation_id=invitation_id)
    members.require_owner_for(actor, invitation.role)
    if _open().filter(id=invitation.id).update(revoked_at=timezone.now()):
        _tell(who(actor), "revoked", invitation)


def invitation_shown(*, digest: bytes) -> Shown:
    """What an open invitation is to, for a page that asks before it is accepted. Raises ``not_found``.

    ``digest``: of its token (``key_digest``).
    """
    tenant_id, tenant_name, invitation_id = _found(digest)
    with tenant_scope(tenant_id):
        open_ones = _open().select_related("invited_by")
        invitation = open_ones.filter(id=invitation_id, expires_at__gt=timezone.now()).first()
    if invitation is None:
        raise not_found("invitation")
    by = invitation.invited_by.get_username() if invitation.invited_by else ""
    return Shown(tenant_id, tenant_name, invitation_id, invitation.role, invitation.expires_at, by)


def invitation_accept(*, digest: bytes, user_id: UUID, via: str = "browser") -> Accepted:
    """Make the user a member by a token's digest. The same user may show it again: they are a member.

    ``via``: as in the audit, of the inviting tenant.

    Raises ``not_found`` for a token that is unknown, expired, revoked or somebody else used, and
    ``already_member``, which leaves the invitation open for whom it was meant.
    """
    tenant_id, tenant_name, invitation_id = _found(digest)
    with tenant_scope(tenant_id):
        locked = Invitation.objects.select_for_update()
        invitation = locked.filter(id=invitation_id, revoked_at=None).first()
        active = User.objects.filter(id=user_id, is_active=True).exists()
        member = Membership.objects.filter(user_id=user_id).first()
        if invitation is None or not active:
            raise not_found("invitation")
        if invitation.accepted_at is not None:
            if member is None or invitation.accepted_by_id != user_id:
                raise not_found("invitation")
            return Accepted(tenant_name, member)
        if invitation.expires_at <= timezone.now():
            raise not_found("invitation")
        if member is not None:
            sentence = "You are a member there already: the invitation stays open for somebody else."
            raise SomaError(Kind.CONFLICT, "already_member", sentence)
        member = Membership.objects.create(tenant_id=tenant_id, user_id=user_id, role=invitation.role)
        invitation.accepted_at, invitation.accepted_by_id = timezone.now(), user_id
        invitation.save(update_fields=["accepted_at", "accepted_by"])
        _tell(Who(user_id, via), "accepted", invitation, membership=member.id)
    return Accepted(tenant_name, member)


def _tell(by: Who, what: str, invitation: Invitation, **facts: object) -> None:
    audit_entry_create(
        by=by,
        action=f"invitation.{what}",
        target_type="invitation",
        target_id=invitation.id,
        facts={"role": invitation.role, **facts},
    )


def _made(
    tenant_id: UUID,
    invited_by_id: UUID | None,
    role: str,
    name: str,
    until: datetime,
    idempotency: Idempotency | None,
    *,
    by: Who,
    **facts: object,
) -> tuple[Invitation, str]:
    token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    invitation = Invitation.objects.create(
        tenant_id=tenant_id,
        invited_by_id=invited_by_id,
        name=name,
        role=role,
        digest=key_digest(token),
        expires_at=until,
        **(idempotency.columns() if idempotency else {}),
    )
    _tell(by, "created", invitation, name=name, expires_at=until.isoformat(), **facts)
    return invitation, token


def _found(digest: bytes) -> tuple[UUID, str, UUID]:
    """The tenant, its name and the invitation, whatever became of it."""
    with connection.cursor() as cursor:
        cursor.execute(_BY_TOKEN, {"digest": digest})
        row = cursor.fetchone()
    if row is None:
        raise not_found("invitation")
    return row[0], row[1], row[2]


def _open() -> QuerySet[Invitation]:
    return Invitation.objects.filter(accepted_at=None, revoked_at=None)


def _until(wanted: datetime | None) -> datetime:
    now = timezone.now()
    until = wanted or now + LASTS
    if not now < until <= now + LASTS_AT_MOST:
        sentence = f"An invitation lasts until a time within the next {LASTS_AT_MOST.days} days."
        raise invalid("body.expires_at", sentence)
    return until
