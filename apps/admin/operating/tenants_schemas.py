"""What the operators' API of tenants takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from ninja import Schema
from pydantic import Field, StringConstraints

from somaagent.people.schemas import InvitationEnd
from somaagent.tenancy.models import MOST_REQUESTS, Tenant
from somaagent.tenancy.tenants import FirstOwner, Invited
from somaagent.web.bodies import Body, PartialBody
from somaagent.web.text import Text, Title

TenantSlug = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][-a-z0-9_]{0,62}$"),
    Field(description="Its name for programs, for good.", examples=["acme"]),
]
Name = Annotated[Title, Field(min_length=1)]
Rate = Annotated[
    Annotated[int, Field(ge=1, le=MOST_REQUESTS)] | None,
    Field(description="Of all its users and keys together. Null: as many as they like."),
]


class TenantQuery(Schema):
    search: Annotated[Text, Field(max_length=200, description="Part of a name or slug.")] = ""
    state: Annotated[Literal["live", "suspended"] | None, Field(description="Left out: both.")] = None

    def asked(self) -> dict[str, Any]:
        return {"search": self.search, "suspended": None if self.state is None else self.state == "suspended"}


class FirstOwnerIn(Body):
    name: Annotated[Title, Field(description="Whom the invitation is for, in your words.")] = ""
    expires_at: InvitationEnd = None

    def asked(self) -> FirstOwner:
        return FirstOwner(self.name, self.expires_at)


class TenantIn(Body):
    slug: TenantSlug
    name: Name
    requests_per_minute: Rate = None
    first_owner: Annotated[
        FirstOwnerIn | None,
        Field(description="Makes an invitation for whoever is to own it. Null: none, and nobody can enter."),
    ] = FirstOwnerIn()

    def facts(self) -> dict[str, Any]:
        given = self.model_dump(include={"slug", "name", "requests_per_minute"})
        return given | {"first_owner": self.first_owner.asked() if self.first_owner else None}


class TenantPatch(PartialBody):
    """What is left out stays."""

    nullable = frozenset({"requests_per_minute"})

    name: Name | None = None
    requests_per_minute: Rate = None

    def changes(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)


class TenantOut(Schema):
    id: UUID
    slug: str
    name: str
    requests_per_minute: int | None
    suspended_at: Annotated[datetime | None, Field(description="Null: it is live.")]
    members: int
    owners: int
    created_at: datetime


class OwnerInvitation(Schema):
    id: UUID
    name: str
    expires_at: datetime
    token: Annotated[
        str | None,
        Field(description="inv_…: shown here and never again; pass it on. Null: an earlier request with "
              "this Idempotency-Key made it."),
    ]  # fmt: skip

    @classmethod
    def of(cls, invited: Invited) -> Self:
        made = invited.invitation
        return cls(id=made.pk, name=made.name, expires_at=made.expires_at, token=invited.token)


class TenantMade(TenantOut):
    invitation: OwnerInvitation | None

    @classmethod
    def of(cls, tenant: Tenant, invited: Invited | None) -> Self:
        facts = TenantOut.from_orm(tenant).model_dump()
        return cls(**facts, invitation=OwnerInvitation.of(invited) if invited else None)
