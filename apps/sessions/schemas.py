"""What the API takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from ninja import Schema
from pydantic import Field, StrictBool

from somaagent.web.bodies import Body
from somaagent.web.text import Slug, Title

from .models import Session


class SessionIn(Body):
    agent: Annotated[
        Slug | None, Field(description="Slug of the agent; the default one where it is left out.")
    ] = None
    title: Annotated[Title, Field(description="Empty: taken from the first message.")] = ""


class SessionPatch(Body):
    title: Title | None = None
    archived: StrictBool | None = None
    active_message_id: Annotated[
        UUID | None,
        Field(
            description="A message of the session: the branch that goes through it becomes the active one."
        ),
    ] = None


class SessionOut(Schema):
    id: UUID
    title: str
    agent: str
    created_at: datetime
    archived_at: datetime | None
    active_message_id: UUID | None

    @staticmethod
    def resolve_agent(session: Session) -> str:
        return session.agent.slug


class MessageOut(Schema):
    id: UUID
    role: str
    text: str
    complete: bool
    created_at: datetime
    parent_id: Annotated[UUID | None, Field(description="What was said before it.")]
    alternatives: Annotated[
        list[UUID], Field(description="All messages that follow its parent, this one too, oldest first.")
    ]
