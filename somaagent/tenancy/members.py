"""Members of a tenant: who they are, what their role is, who may change it. All run in the tenant's scope.

Owners and admins manage members; what is about an owner only owners do; a tenant always keeps one owner.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from somaagent.errors import Kind, SomaError, not_found

from .actor import Actor
from .audit.entries import audit_entry_create, who
from .models import Membership, Role
from .owners import require_another_owner

if TYPE_CHECKING:
    from django.db.models import QuerySet

MANAGERS = frozenset({Role.OWNER.value, Role.ADMIN.value})


def manages(actor: Actor) -> bool:
    return actor.role in MANAGERS


def require_manager(actor: Actor) -> None:
    """Raise ``role_forbidden`` unless the actor is an owner or an admin."""
    if not manages(actor):
        raise _forbidden("Only owners and admins of your organisation do this: ask one of them.")


def require_manager_of(actor: Actor, *, user_id: UUID) -> None:
    """The same, and an owner where that user is one."""
    require_manager(actor)
    require_owner_for(actor, *Membership.objects.filter(user_id=user_id).values_list("role", flat=True))


def require_owner_for(actor: Actor, *roles: str) -> None:
    """Raise ``role_forbidden`` where one of the roles is an owner's and the actor is none."""
    if Role.OWNER in roles and actor.role != Role.OWNER:
        raise _forbidden("Only an owner makes or removes owners: ask one.")


def member_list(*, actor: Actor) -> QuerySet[Membership]:
    """All members, for owners and admins; others are told of themselves alone."""
    rows = Membership.objects.select_related("user")
    return rows if manages(actor) else rows.filter(user_id=actor.user_id)


def member_get(*, actor: Actor, member_id: UUID) -> Membership:
    member = member_list(actor=actor).filter(id=member_id).first()
    if member is None:
        raise not_found("member")
    return member


def member_change(*, actor: Actor, member_id: UUID, role: str) -> Membership:
    """Give a member another role."""
    actor, member = _locked(actor, member_id)
    require_manager(actor)
    if member.role == role:
        return member
    require_owner_for(actor, member.role, role)
    _keep_an_owner(member)
    before, member.role = member.role, role
    member.save(update_fields=["role"])
    audit_entry_create(
        by=who(actor),
        action="membership.changed",
        target_type="membership",
        target_id=member.id,
        facts={"user": member.user_id, "role": {"from": before, "to": role}},
    )
    return member


def member_remove(*, actor: Actor, member_id: UUID) -> None:
    """End a membership: somebody else's, or one's own. What they made stays; their keys here are dead."""
    actor, member = _locked(actor, member_id)
    if member.user_id != actor.user_id:
        require_manager(actor)
        require_owner_for(actor, member.role)
    _keep_an_owner(member)
    ended, facts = member.id, {"user": member.user_id, "role": member.role}
    member.delete()
    audit_entry_create(
        by=who(actor), action="membership.deleted", target_type="membership", target_id=ended, facts=facts
    )


def _locked(actor: Actor, member_id: UUID) -> tuple[Actor, Membership]:
    """The actor with the role that they have by now, and the member, whose row and the owners' are locked.

    Owners that remove each other at once wait for one another here, in the order of their rows.
    """
    member_get(actor=actor, member_id=member_id)
    wanted = (
        Membership.objects.filter(role=Role.OWNER)
        | Membership.objects.filter(pk=member_id)
        | Membership.objects.filter(user_id=actor.user_id)
    )
    rows = {row.pk: row for row in wanted.order_by("pk").select_for_update()}
    mine = next((row for row in rows.values() if row.user_id == actor.user_id), None)
    member = rows.get(member_id)
    if mine is None or member is None:
        raise not_found("member")
    return replace(actor, role=mine.role), member


def _keep_an_owner(member: Membership) -> None:
    """Raise ``last_owner`` where the tenant has no other owner who can act."""
    if member.role == Role.OWNER:
        require_another_owner(leaving=member.user_id, tenant_id=member.tenant_id)


def _forbidden(sentence: str) -> SomaError:
    return SomaError(Kind.FORBIDDEN, "role_forbidden", sentence)
