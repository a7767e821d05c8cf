"""``/api/v1/api-keys``, ``/api/v1/members``, ``/api/v1/invitations``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Router, Status

from somaagent.problems import PROBLEMS, Problem
from somaagent.tenancy import invitations, keys, members
from somaagent.tenancy.models import Role
from somaagent.tenancy.selectors import key_digest
from somaagent.web.answers import answer
from somaagent.web.idempotency import IdempotencyKey, idempotency_of
from somaagent.web.pagination import Page, PageQuery, page_of
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from .schemas import (
    AcceptedOut,
    AcceptIn,
    ApiKeyIn,
    ApiKeyMade,
    ApiKeyOut,
    InvitationIn,
    InvitationMade,
    InvitationOut,
    MemberOut,
    MemberPatch,
)

router = Router()
router.add_decorator(in_tenant_of_actor)
KEYS, MEMBERS, INVITATIONS = ["api-keys"], ["members"], ["invitations"]


@router.get("/api-keys", response={200: Page[ApiKeyOut], **PROBLEMS}, tags=KEYS)
def list_api_keys(request: HttpRequest, page: Query[PageQuery], everyone: bool = False) -> Any:
    """The caller's keys, newest first, dead ones too; with ``everyone`` the tenant's (owners, admins)."""
    return page_of(keys.api_key_list(actor=actor_of(request), everyone=everyone), page)


@router.post("/api-keys", response={201: ApiKeyMade, 409: Problem, **PROBLEMS}, tags=KEYS)
def create_api_key(request: HttpRequest, body: ApiKeyIn, idempotency_key: IdempotencyKey = None) -> Any:
    """A new key of the caller's, which may do no more than they. Its text is in this answer alone."""
    key, text = keys.api_key_make(
        actor=actor_of(request),
        name=body.name,
        scopes=body.scopes,
        expires_at=body.expires_at,
        idempotency=idempotency_of(idempotency_key, body),
    )
    return answer(ApiKeyOut.from_orm(key).model_dump() | {"key": text}, 201)


@router.get("/api-keys/{uuid:key_id}", response={200: ApiKeyOut, **PROBLEMS}, tags=KEYS)
def read_api_key(request: HttpRequest, key_id: UUID) -> Any:
    return keys.api_key_get(actor=actor_of(request), key_id=key_id)


@router.delete("/api-keys/{uuid:key_id}", response={204: None, **PROBLEMS}, tags=KEYS)
def revoke_api_key(request: HttpRequest, key_id: UUID) -> Any:
    """Revoke it, at once. It stays in the list."""
    keys.api_key_end(actor=actor_of(request), key_id=key_id)
    return Status(204, None)


@router.get("/members", response={200: Page[MemberOut], **PROBLEMS}, tags=MEMBERS)
def list_members(request: HttpRequest, page: Query[PageQuery]) -> Any:
    """Who belongs to the tenant, newest first; to who does not manage members, themselves alone."""
    return page_of(members.member_list(actor=actor_of(request)), page)


@router.get("/members/{uuid:member_id}", response={200: MemberOut, **PROBLEMS}, tags=MEMBERS)
def read_member(request: HttpRequest, member_id: UUID) -> Any:
    return members.member_get(actor=actor_of(request), member_id=member_id)


@router.patch("/members/{uuid:member_id}", response={200: MemberOut, 409: Problem, **PROBLEMS}, tags=MEMBERS)
def change_member(request: HttpRequest, member_id: UUID, body: MemberPatch) -> Any:
    """Give a member another role. Only an owner makes or removes owners; one owner is always left."""
    return members.member_change(actor=actor_of(request), member_id=member_id, role=body.role)


@router.delete("/members/{uuid:member_id}", response={204: None, 409: Problem, **PROBLEMS}, tags=MEMBERS)
def remove_member(request: HttpRequest, member_id: UUID) -> Any:
    """Remove a member, or leave. Their credentials for this tenant are dead at once."""
    members.member_remove(actor=actor_of(request), member_id=member_id)
    return Status(204, None)


@router.get("/invitations", response={200: Page[InvitationOut], **PROBLEMS}, tags=INVITATIONS)
def list_invitations(request: HttpRequest, page: Query[PageQuery]) -> Any:
    """All invitations, newest first, with what became of them. For owners and admins."""
    return page_of(invitations.invitation_list(actor=actor_of(request)), page)


@router.post("/invitations", response={201: InvitationMade, 409: Problem, **PROBLEMS}, tags=INVITATIONS)
def create_invitation(
    request: HttpRequest, body: InvitationIn, idempotency_key: IdempotencyKey = None
) -> Any:
    """Invite somebody. No e-mail is sent: the token in this answer is for you to pass on."""
    invitation, token = invitations.invitation_create(
        actor=actor_of(request),
        role=body.role,
        name=body.name,
        expires_at=body.expires_at,
        idempotency=idempotency_of(idempotency_key, body),
    )
    return answer(InvitationOut.from_orm(invitation).model_dump() | {"token": token}, 201)


@router.post("/invitations/accept", response={200: AcceptedOut, 409: Problem, **PROBLEMS}, tags=INVITATIONS)
def accept_invitation(request: HttpRequest, body: AcceptIn) -> Any:
    """Become a member of the tenant that invites, besides those that the caller is a member of already."""
    actor = actor_of(request)
    accepted = invitations.invitation_accept(
        digest=key_digest(body.token), user_id=actor.user_id, via=actor.via
    )
    member = accepted.membership
    return AcceptedOut(
        tenant_id=member.tenant_id, tenant=accepted.tenant_name, member_id=member.id, role=Role(member.role)
    )


@router.get("/invitations/{uuid:invitation_id}", response={200: InvitationOut, **PROBLEMS}, tags=INVITATIONS)
def read_invitation(request: HttpRequest, invitation_id: UUID) -> Any:
    return invitations.invitation_get(actor=actor_of(request), invitation_id=invitation_id)


@router.delete("/invitations/{uuid:invitation_id}", response={204: None, **PROBLEMS}, tags=INVITATIONS)
def revoke_invitation(request: HttpRequest, invitation_id: UUID) -> Any:
    """Nobody can accept it any more. Who has accepted it stays a member."""
    invitations.invitation_revoke(actor=actor_of(request), invitation_id=invitation_id)
    return Status(204, None)
