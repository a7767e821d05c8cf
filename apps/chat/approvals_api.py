"""``/api/v1/turns/{id}/approvals`` and ``/api/v1/approvals``: what waits for approval, and the answers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Router

from somaagent.problems import PROBLEMS, Problem
from somaagent.web.pagination import Page, PageQuery, page_of
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from . import approvals, selectors
from .approval_bodies import AnswersIn, ApprovalOut, ApprovalsOut

router = Router(tags=["approvals"])
router.add_decorator(in_tenant_of_actor)


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
