"""Questions of approval and the answers to them, over HTTP and WebSocket and from the page."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from ninja import Schema
from pydantic import Field

from somaagent.web.bodies import Body
from somaagent.web.text import Text

from .approvals import Given
from .models import Call

MOST_AT_ONCE = 64


class ApprovalOut(Schema):
    """A call of a tool that waits, or waited, for approval."""

    id: UUID
    turn_id: UUID
    call_id: Annotated[str, Field(description="What an answer names it by, within its turn.")]
    tool: str
    source: Annotated[str, Field(description="built_in, or mcp: and the server's name.")]
    arguments: Annotated[dict[str, Any], Field(description="As it would run, or ran.")]
    risk: Annotated[str, Field(description="low, medium or high: what it can do at worst.")]
    reason: Annotated[str, Field(description="Why somebody is asked.")]
    asked_at: datetime
    expires_at: datetime
    answer: Annotated[str | None, Field(description="approved, denied or expired; null: it waits.")]
    answered_by: UUID | None
    answered_at: datetime | None
    answer_reason: str
    edited: Annotated[bool, Field(description="Whether who approved it changed its arguments.")]

    @staticmethod
    def resolve_arguments(call: Call) -> dict[str, Any]:
        arguments: dict[str, Any] = orjson.loads(call.edited_arguments or call.arguments)
        return arguments

    @staticmethod
    def resolve_answer(call: Call) -> str | None:
        return call.answer or None

    @staticmethod
    def resolve_edited(call: Call) -> bool:
        return call.edited_arguments is not None


class ApprovalsOut(Schema):
    items: list[ApprovalOut]


class AnswerIn(Body):
    call_id: Annotated[Text, Field(min_length=1, max_length=64)]
    decision: Literal["approve", "deny"]
    reason: Annotated[Text, Field(max_length=500, description="The model is told it.")] = ""
    arguments: Annotated[
        dict[str, Any] | None, Field(description="What to run it with instead, where it is approved.")
    ] = None

    def given(self) -> Given:
        return Given(self.call_id, self.decision == "approve", self.reason, self.arguments)


class AnswersIn(Body):
    calls: Annotated[list[AnswerIn], Field(min_length=1, max_length=MOST_AT_ONCE)]
