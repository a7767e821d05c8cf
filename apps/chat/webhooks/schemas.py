"""What the API of webhooks takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from ninja import Schema
from pydantic import Field, StrictBool, StringConstraints

from somaagent.web.bodies import Body
from somaagent.web.text import Text

from .models import LONGEST_URL, WebhookEvent, every_event

Url = Annotated[
    Text,
    StringConstraints(min_length=1, max_length=LONGEST_URL),
    Field(description="https (or http), to a public address."),
]
Events = Annotated[
    list[WebhookEvent], Field(min_length=1, max_length=len(WebhookEvent), description="What to be told of.")
]


class WebhookIn(Body):
    url: Url
    events: Events = Field(default_factory=lambda: [WebhookEvent(event) for event in every_event()])


class WebhookPatch(Body):
    url: Url | None = None
    events: Events | None = None
    enabled: StrictBool | None = None


class WebhookOut(Schema):
    id: UUID
    url: str
    events: list[str]
    enabled: bool
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: Annotated[str, Field(description="failing, gone, or empty.")]
    created_at: datetime


class WebhookWithSecret(WebhookOut):
    secret: Annotated[str, Field(description="whsec_…: shown here and never again.")]


class DeliveryOut(Schema):
    id: Annotated[UUID, Field(description="The message's webhook-id as well.")]
    webhook_id: UUID
    turn_id: UUID | None
    event: str
    state: Annotated[str, Field(description="pending, delivered or failed.")]
    attempts: int
    next_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_status: Annotated[int | None, Field(description="What the server answered; null: it did not.")]
    last_error: Annotated[str, Field(description="Why there was no answer, as a code.")]
    last_seconds: float | None
    created_at: datetime
