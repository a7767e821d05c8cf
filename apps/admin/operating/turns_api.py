"""``/api/v1/admin/turns``: everybody's turns, for those who manage a tenant."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Router, Status

from apps.chat import intervening, oversight
from somaagent.problems import PROBLEMS, Problem
from somaagent.tenancy.audit.entries import who
from somaagent.tenancy.members import require_manager
from somaagent.web.idempotency import IdempotencyKey, idempotency_of_text
from somaagent.web.pagination import Page, PageQuery
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from .paging import page_told
from .turns_schemas import TurnFilter, TurnOverseen, TurnOverseenWhole, turn_told, turn_told_whole

router = Router(tags=["admin: turns"])
router.add_decorator(in_tenant_of_actor)
AWAY: dict[int, type[Problem]] = {503: Problem}


@router.get("", response={200: Page[TurnOverseen], **PROBLEMS, **AWAY}, summary="Everybody's turns")
def list_everybodys_turns(request: HttpRequest, page: Query[PageQuery], wanted: Query[TurnFilter]) -> Any:
    """For owners and admins: the turns of all members, newest first; not what was said in them."""
    require_manager(actor_of(request))
    turns = oversight.turns_of_everybody(**wanted.model_dump())
    return page_told(turns, page, lambda rows: [turn_told(row) for row in rows])


@router.get(
    "/{uuid:turn_id}", response={200: TurnOverseenWhole, **PROBLEMS, **AWAY}, summary="Anybody's turn"
)
def read_anybodys_turn(request: HttpRequest, turn_id: UUID) -> Any:
    """For owners and admins: how it runs, its steps and calls in short, what it used, its error."""
    require_manager(actor_of(request))
    return turn_told_whole(oversight.turn_overseen(turn_id=turn_id))


@router.post("/{uuid:turn_id}/cancel", response={202: TurnOverseen, **PROBLEMS, **AWAY}, summary="Cancel it")
def cancel_anybodys_turn(request: HttpRequest, turn_id: UUID) -> Any:
    """For owners and admins. A turn that nobody works at is cancelled at once; one that runs, by its host;
    one that is over stays as it is. The audit tells who did it.
    """
    actor = actor_of(request)
    require_manager(actor)
    return Status(202, turn_told(intervening.turn_cancel(by=who(actor), turn_id=turn_id)))


@router.post(
    "/{uuid:turn_id}/retry",
    response={201: TurnOverseen, 402: Problem, 409: Problem, **PROBLEMS, **AWAY},
    summary="Answer its message again",
)
def retry_anybodys_turn(request: HttpRequest, turn_id: UUID, idempotency_key: IdempotencyKey = None) -> Any:
    """For owners and admins: a new turn on the same message, of the user who wrote it and by their budgets.

    A worker answers it. The audit tells who did it.
    """
    actor = actor_of(request)
    require_manager(actor)
    idempotency = idempotency_of_text(idempotency_key, f"retry {turn_id}")
    turn = intervening.turn_retry(by=who(actor), turn_id=turn_id, idempotency=idempotency)
    return Status(201, turn_told(turn))


@router.post(
    "/{uuid:turn_id}/hand-over",
    response={202: TurnOverseen, 409: Problem, **PROBLEMS, **AWAY},
    summary="Have a worker take it now",
)
def hand_over_anybodys_turn(request: HttpRequest, turn_id: UUID) -> Any:
    """For owners and admins: does for a turn that nobody works at what the scheduler's sweep would do.

    409 `turn_not_stuck` for one that somebody works at. The audit tells who did it.
    """
    actor = actor_of(request)
    require_manager(actor)
    return Status(202, turn_told(intervening.turn_hand_over(by=who(actor), turn_id=turn_id)))
