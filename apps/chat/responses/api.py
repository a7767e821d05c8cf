"""``/v1/responses`` and ``/v1/conversations``, for any client of OpenAI's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from ninja import Query, Router

from apps.chat import sse
from apps.sessions import services as sessions
from somaagent.web.idempotency import IdempotencyKey, idempotency_of
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from . import flow, passing, selectors, services
from .events import Event
from .ids import CONVERSATION, RESPONSE, id_of, name_of
from .schemas import ConversationIn, ResponseIn

if TYPE_CHECKING:
    from apps.sessions.models import Session

router = Router()
router.add_decorator(in_tenant_of_actor)
After = Annotated[int | None, Query(ge=0, le=sse.LARGEST_CURSOR)]
Limit = Annotated[int, Query(ge=1, le=selectors.MOST_ITEMS)]
Order = Literal["asc", "desc"]
PAGE = 20


@router.post("/responses")
async def create_response(
    request: HttpRequest, body: ResponseIn, idempotency_key: IdempotencyKey = None
) -> HttpResponseBase:
    """The agent's answer to the input, whole, in events, or in the background."""
    actor, asked = actor_of(request), body.told()
    if body.store is False:
        run = await passing.begin(actor=actor, asked=asked)
        if body.stream:
            return sse.response_of(passing.narrated(run, asked), _encode)
        return JsonResponse(await passing.whole(run, asked))
    turn = await flow.create(actor=actor, asked=asked, idempotency=idempotency_of(idempotency_key, body))
    if body.stream:
        return sse.response_of(flow.follow(actor=actor, turn=turn), _encode)
    if body.background:
        return JsonResponse(await flow.read(actor=actor, turn_id=turn.id))
    return JsonResponse(await flow.finished(actor=actor, turn=turn))


@router.get("/responses/{response_id}")
async def read_response(
    request: HttpRequest, response_id: str, stream: bool = False, starting_after: After = None
) -> HttpResponseBase:
    """A stored response as it stands, or (``stream``) its events behind a number."""
    actor, turn_id = actor_of(request), id_of(RESPONSE, response_id)
    if not stream:
        return JsonResponse(await flow.read(actor=actor, turn_id=turn_id))
    events = await flow.followed(actor=actor, turn_id=turn_id, starting_after=starting_after)
    return sse.response_of(events, _encode)


@router.post("/responses/{response_id}/cancel")
async def cancel_response(request: HttpRequest, response_id: str) -> HttpResponseBase:
    """Stop a response that is being written, or waits to be."""
    turn_id = id_of(RESPONSE, response_id)
    return JsonResponse(await flow.cancel(actor=actor_of(request), turn_id=turn_id))


@router.delete("/responses/{response_id}")
def delete_response(request: HttpRequest, response_id: str) -> HttpResponseBase:
    services.response_delete(actor=actor_of(request), turn_id=id_of(RESPONSE, response_id))
    return JsonResponse({"id": response_id, "object": "response", "deleted": True})


@router.get("/responses/{response_id}/input_items")
def list_input_items(
    request: HttpRequest,
    response_id: str,
    limit: Limit = PAGE,
    order: Order = "desc",
    after: str | None = None,
) -> HttpResponseBase:
    """What the request itself said; what it followed has input items of its own."""
    items = selectors.input_items(actor=actor_of(request), turn_id=id_of(RESPONSE, response_id))
    return JsonResponse(selectors.part_of(items, order=order, after=after, limit=limit))


@router.post("/conversations")
def create_conversation(
    request: HttpRequest, body: ConversationIn, idempotency_key: IdempotencyKey = None
) -> HttpResponseBase:
    """A session in which nothing was said: its first response says which agent leads it."""
    session = sessions.session_create(
        actor=actor_of(request), idempotency=idempotency_of(idempotency_key, body)
    )
    return JsonResponse(_conversation(session))


@router.get("/conversations/{conversation_id}")
def read_conversation(request: HttpRequest, conversation_id: str) -> HttpResponseBase:
    session_id = id_of(CONVERSATION, conversation_id)
    session = selectors.conversation_get(actor=actor_of(request), session_id=session_id)
    return JsonResponse(_conversation(session))


@router.delete("/conversations/{conversation_id}")
def delete_conversation(request: HttpRequest, conversation_id: str) -> HttpResponseBase:
    """Delete the session with all that was said in it, its responses too."""
    actor, session_id = actor_of(request), id_of(CONVERSATION, conversation_id)
    selectors.conversation_get(actor=actor, session_id=session_id)
    sessions.session_delete(actor=actor, session_id=session_id)
    return JsonResponse({"id": conversation_id, "object": "conversation.deleted", "deleted": True})


@router.get("/conversations/{conversation_id}/items")
def list_conversation_items(
    request: HttpRequest,
    conversation_id: str,
    limit: Limit = PAGE,
    order: Order = "desc",
    after: str | None = None,
) -> HttpResponseBase:
    """What was said on the active branch."""
    session_id = id_of(CONVERSATION, conversation_id)
    items = selectors.conversation_items(actor=actor_of(request), session_id=session_id)
    return JsonResponse(selectors.part_of(items, order=order, after=after, limit=limit))


def _conversation(session: Session) -> dict[str, Any]:
    created = int(session.created_at.timestamp())
    name = name_of(CONVERSATION, session.id)
    return {"id": name, "object": "conversation", "created_at": created, "metadata": {}}


def _encode(event: Event) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event))
