"""``/api/v1/turns/{id}/approvals`` and ``/api/v1/approvals``: what waits for approval, and the answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from somaagent.problems import PROBLEMS, Problem
from somaagent.web.pagination import Page, PageQuery, page_of
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from . import approvals, selectors
from .approval_bodies import AnswersIn
from .models import Call

router = Router(tags=["approvals"])
router.add_decorator(in_tenant_of_actor)


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


@router.get("/turns/{uuid:turn_id}/approvals", response={200: ApprovalsOut, 503: Problem, **PROBLEMS})
async def list_of_turn(request: HttpRequest, turn_id: UUID) -> Any:
    """The turn's calls that were asked about, oldest first, answered or not."""
    return {"items": await approvals.questions(actor=actor_of(request), turn_id=turn_id)}


@router.post(
    "/turns/{uuid:turn_id}/approvals",
    response={200: ApprovalsOut, 409: Problem, 503: Problem, **PROBLEMS},
)
async def answer(request: HttpRequest, turn_id: UUID, body: AnswersIn) -> Any:
    """Answer some of a turn's questions, or all: with the last the turn goes on. Safe to send again."""
    kept = await approvals.answer(
        actor=actor_of(request), turn_id=turn_id, given=[one.given() for one in body.calls]
    )
    return {"items": kept}


@router.get("/approvals", response={200: Page[ApprovalOut], **PROBLEMS})
def list_waiting(request: HttpRequest, page: Query[PageQuery]) -> Any:
    """What waits for approval now, newest first: of the caller's own turns; for owners and admins, of all."""
    return page_of(selectors.approvals_waiting(actor=actor_of(request)), page)
