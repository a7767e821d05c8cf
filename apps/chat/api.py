"""``/api/v1/turns``: submit, read, cancel, retry, follow."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Header, Query, Router

from somaagent.problems import PROBLEMS, Problem
from somaagent.tenancy.scripts import look
from somaagent.web.answers import answer, answer_page
from somaagent.web.idempotency import IdempotencyKey, idempotency_of, idempotency_of_text
from somaagent.web.pagination import Page, PageQuery
from somaagent.web.request import actor_of
from somaagent.web.routes import holding_proofs

from . import selectors, sse, turns
from .models import OnBusy
from .schemas import RetryIn, TurnIn, TurnOut, told
from .selectors import TurnRow

router = Router(tags=["turns"])
EVENT_STREAM = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "description": "A server-sent event.",
            "required": ["id", "event", "data"],
            "properties": {
                "id": {"type": "string", "pattern": "^[0-9]+$", "description": "Its number in the turn."},
                "event": {"type": "string", "description": "Its name, for example text.delta."},
                "data": {"type": "string", "description": "Its facts, a JSON object."},
            },
        }
    }
}
After = Annotated[
    int | None, Query(ge=0, le=sse.LARGEST_CURSOR, description="Sequence number of the last event seen.")
]
LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="As a browser sends it by itself.")
]


@router.post(
    "",
    response={201: TurnOut, 202: TurnOut, 402: Problem, 409: Problem, 503: Problem, **PROBLEMS},
    openapi_extra={
        "responses": {200: {"description": "With stream: the turn's events.", "content": EVENT_STREAM}}
    },
)
@holding_proofs
async def submit_turn(request: HttpRequest, body: TurnIn, idempotency_key: IdempotencyKey = None) -> Any:
    """Say something. Answers at once with the turn (202: in the background), or its events (``stream``)."""
    actor = actor_of(request)
    turn = await turns.submit(
        actor=actor,
        text=body.input,
        session_id=body.session_id,
        agent=body.agent,
        place=body.place(),
        on_busy=body.on_busy,
        idempotency=idempotency_of(idempotency_key, body),
        background=body.background,
    )
    if body.stream:
        return sse.response_of(turns.follow_together(actor=actor, turn=turn, after=0), sse.encode)
    return answer(told(TurnRow.of(turn)), 202 if body.background else 201)


@router.get("", response={200: Page[TurnOut], **PROBLEMS})
@holding_proofs
async def list_turns(
    request: HttpRequest, page: Query[PageQuery], session_id: UUID | None = None
) -> HttpResponse:
    """The caller's turns, newest first; of one session where it is named."""
    actor = actor_of(request)
    script = selectors.turn_page(actor=actor, session_id=session_id, query=page)
    return answer_page(await look(actor.tenant_id, script, proof=actor.proof), told)


@router.get("/{uuid:turn_id}", response={200: TurnOut, **PROBLEMS})
@holding_proofs
async def read_turn(request: HttpRequest, turn_id: UUID) -> HttpResponse:
    actor = actor_of(request)
    script = selectors.turn_told(actor=actor, turn_id=turn_id)
    return answer(told(await look(actor.tenant_id, script, proof=actor.proof)))


@router.post("/{uuid:turn_id}/cancel", response={202: TurnOut, 503: Problem, **PROBLEMS})
async def cancel_turn(request: HttpRequest, turn_id: UUID) -> Any:
    """Ask the turn to stop. Its state says when it did; what is over stays as it is."""
    return answer(told(TurnRow.of(await turns.cancel(actor=actor_of(request), turn_id=turn_id))), 202)


@router.post(
    "/{uuid:turn_id}/retry", response={201: TurnOut, 402: Problem, 409: Problem, 503: Problem, **PROBLEMS}
)
async def retry_turn(
    request: HttpRequest, turn_id: UUID, body: RetryIn | None = None, idempotency_key: IdempotencyKey = None
) -> Any:
    """Answer the same message again: another try after a failure, or another answer beside the first."""
    on_busy = body.on_busy if body else OnBusy.REJECT
    # Without a word of it where none was said, so that what was sent to an older server is known again.
    how = "" if on_busy == OnBusy.REJECT else f" {on_busy}"
    idempotency = idempotency_of_text(idempotency_key, f"retry {turn_id}{how}")
    turn = await turns.retry(
        actor=actor_of(request), turn_id=turn_id, on_busy=on_busy, idempotency=idempotency
    )
    return answer(told(TurnRow.of(turn)), 201)


@router.get(
    "/{uuid:turn_id}/events",
    response={**PROBLEMS, 503: Problem},
    openapi_extra={"responses": {200: {"description": "The turn's events.", "content": EVENT_STREAM}}},
)
async def follow_turn(
    request: HttpRequest, turn_id: UUID, after: After = None, last_event_id: LastEventId = None
) -> Any:
    """The turn's events behind the cursor as they come, until its final one."""
    actor, cursor = actor_of(request), sse.cursor_of(last_event_id, after)
    return sse.response_of(await turns.followed(actor=actor, turn_id=turn_id, after=cursor), sse.encode)
