"""What the operators' API of users takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import Field

from somaagent.tenancy.models import User
from somaagent.web.text import Text


class UserQuery(Schema):
    search: Annotated[Text, Field(max_length=200, description="Part of a name or an e-mail address.")] = ""
    state: Annotated[Literal["active", "suspended"] | None, Field(description="Left out: both.")] = None
    operator: Annotated[bool | None, Field(description="Only operators, or only others.")] = None

    def asked(self) -> dict[str, Any]:
        active = None if self.state is None else self.state == "active"
        return {"search": self.search, "active": active, "operators": self.operator}


class UserOut(Schema):
    id: UUID
    username: str
    email: str
    first_name: str
    last_name: str
    active: Annotated[bool, Field(description="False: the user is suspended.")]
    operator: bool
    password_is_one_time: Annotated[bool, Field(description="It is changed at the next sign-in.")]
    last_login: datetime | None
    created_at: datetime

    @staticmethod
    def resolve_active(user: User) -> bool:
        return user.is_active

    @staticmethod
    def resolve_operator(user: User) -> bool:
        return user.is_staff

    @staticmethod
    def resolve_created_at(user: User) -> datetime:
        return user.date_joined


class TenantOfUser(Schema):
    id: UUID
    slug: str
    name: str
    suspended_at: datetime | None


class UserDetail(UserOut):
    tenants: Annotated[
        list[TenantOfUser], Field(description="Those that they belong to. As what, their owners know.")
    ]
    browser_sessions: Annotated[int, Field(description="Some of them may have expired.")]


class SessionsEnded(Schema):
    ended: Annotated[int, Field(description="How many there were.")]


class HandedOut(Schema):
    password: Annotated[str, Field(description="Shown here and never again. It is good for one sign-in.")]
