"""What the API of members, invitations and API keys takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from ninja import Schema
from pydantic import AwareDatetime, Field, StringConstraints

from somaagent.tenancy.invitations import LASTS, LASTS_AT_MOST
from somaagent.tenancy.models import ApiKey, Invitation, Membership, Role, Scope
from somaagent.web.bodies import Body
from somaagent.web.text import Text, Title

Scopes = Annotated[
    list[Scope],
    Field(
        min_length=1,
        max_length=len(Scope),
        description="read, write, operate (for operators of the platform); if left out, read and write as "
        "far as you may.",
    ),
]
Expiry = Annotated[AwareDatetime | None, Field(description="When it ends by itself. Null: never.")]
InvitationEnd = Annotated[
    AwareDatetime | None,
    Field(description=f"Within {LASTS_AT_MOST.days} days; {LASTS.days} days from now if left out."),
]


class ApiKeyIn(Body):
    name: Annotated[Title, Field(min_length=1, description="What it is for, to tell keys apart.")]
    scopes: Scopes | None = None
    expires_at: Expiry = None


class ApiKeyOut(Schema):
    id: UUID
    user_id: UUID
    username: str
    name: str
    prefix: Annotated[str, Field(description="The first characters of its text.")]
    scopes: list[str]
    expires_at: datetime | None
    last_used_at: Annotated[datetime | None, Field(description="To the minute.")]
    revoked_at: datetime | None
    created_at: datetime

    @staticmethod
    def resolve_username(key: ApiKey) -> str:
        return key.user.username


class ApiKeyMade(ApiKeyOut):
    key: Annotated[
        str | None,
        Field(description="sa_…: shown here and never again. Null: an earlier request with this "
              "Idempotency-Key made it."),
    ]  # fmt: skip


class MemberOut(Schema):
    id: UUID
    user_id: UUID
    username: str
    email: str
    active: Annotated[bool, Field(description="False: the user is suspended.")]
    role: Role
    created_at: datetime

    @staticmethod
    def resolve_username(member: Membership) -> str:
        return member.user.username

    @staticmethod
    def resolve_email(member: Membership) -> str:
        return member.user.email

    @staticmethod
    def resolve_active(member: Membership) -> bool:
        return member.user.is_active


class MemberPatch(Body):
    role: Role


class InvitationIn(Body):
    role: Role = Role.MEMBER
    name: Annotated[Title, Field(description="Whom it is for, in your words.")] = ""
    expires_at: InvitationEnd = None


class InvitationOut(Schema):
    id: UUID
    name: str
    role: Role
    invited_by: Annotated[
        str | None, Field(description="A user's name; null: an operator, or they are gone.")
    ]
    expires_at: datetime
    accepted_at: datetime | None
    accepted_by: str | None
    revoked_at: datetime | None
    created_at: datetime

    @staticmethod
    def resolve_invited_by(invitation: Invitation) -> str | None:
        return invitation.invited_by.username if invitation.invited_by else None

    @staticmethod
    def resolve_accepted_by(invitation: Invitation) -> str | None:
        return invitation.accepted_by.username if invitation.accepted_by else None


class InvitationMade(InvitationOut):
    token: Annotated[
        str | None,
        Field(description="inv_…: shown here and never again; pass it on. Null: an earlier request with "
              "this Idempotency-Key made it."),
    ]  # fmt: skip


class AcceptIn(Body):
    token: Annotated[Text, StringConstraints(min_length=1, max_length=200)]


class AcceptedOut(Schema):
    tenant_id: UUID
    tenant: str
    member_id: UUID
    role: Role
