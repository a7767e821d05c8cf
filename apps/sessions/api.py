"""``/api/v1``: sessions and their messages."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status

from somaagent.problems import PROBLEMS, Problem
from somaagent.tenancy.scripts import look
from somaagent.web.answers import answer, answer_page
from somaagent.web.idempotency import IdempotencyKey, idempotency_of
from somaagent.web.pagination import Page, PageQuery
from somaagent.web.request import actor_of
from somaagent.web.routes import holding_proofs
from somaagent.web.security import in_tenant_of_actor

from . import selectors, services
from .branches import MessageRow
from .schemas import MessageOut, SessionIn, SessionOut, SessionPatch
from .selectors import SessionRow

Through = Annotated[
    UUID | None,
    Query(description="A message of another branch: that branch, as it goes on to its newest end."),
]

router = Router()
router.add_decorator(in_tenant_of_actor)


@router.get("/sessions", response={200: Page[SessionOut], **PROBLEMS}, tags=["sessions"])
@holding_proofs
async def list_sessions(request: HttpRequest, page: Query[PageQuery], archived: bool = False) -> HttpResponse:
    """The caller's sessions, newest first."""
    actor = actor_of(request)
    script = selectors.session_page(actor=actor, archived=archived, query=page)
    found = await look(actor.tenant_id, script, proof=actor.proof)
    return answer_page(found, SessionRow._asdict)


@router.post("/sessions", response={201: SessionOut, 409: Problem, **PROBLEMS}, tags=["sessions"])
def create_session(request: HttpRequest, body: SessionIn, idempotency_key: IdempotencyKey = None) -> Any:
    """Begin a conversation."""
    return Status(
        201,
        services.session_create(
            actor=actor_of(request),
            agent=body.agent,
            title=body.title,
            idempotency=idempotency_of(idempotency_key, body),
        ),
    )


@router.get("/sessions/{uuid:session_id}", response={200: SessionOut, **PROBLEMS}, tags=["sessions"])
@holding_proofs
async def read_session(request: HttpRequest, session_id: UUID) -> HttpResponse:
    actor = actor_of(request)
    script = selectors.session_told(actor=actor, session_id=session_id)
    found = await look(actor.tenant_id, script, proof=actor.proof)
    return answer(found._asdict())


@router.patch("/sessions/{uuid:session_id}", response={200: SessionOut, **PROBLEMS}, tags=["sessions"])
def update_session(request: HttpRequest, session_id: UUID, body: SessionPatch) -> Any:
    """Rename, archive, bring back from the archive, or go to another branch."""
    return services.session_update(
        actor=actor_of(request),
        session_id=session_id,
        title=body.title,
        archived=body.archived,
        active_message=body.active_message_id,
    )


@router.delete("/sessions/{uuid:session_id}", response={204: None, **PROBLEMS}, tags=["sessions"])
def delete_session(request: HttpRequest, session_id: UUID) -> Any:
    """Delete the session and all that was said in it. There is no way back."""
    services.session_delete(actor=actor_of(request), session_id=session_id)
    return Status(204, None)


@router.get(
    "/sessions/{uuid:session_id}/messages", response={200: Page[MessageOut], **PROBLEMS}, tags=["sessions"]
)
@holding_proofs
async def list_messages(
    request: HttpRequest, session_id: UUID, page: Query[PageQuery], through: Through = None
) -> HttpResponse:
    """What was said, newest first: the active branch, or another one."""
    actor = actor_of(request)
    script = selectors.message_page(actor=actor, session_id=session_id, query=page, through=through)
    return answer_page(await look(actor.tenant_id, script, proof=actor.proof), MessageRow._asdict)
