"""``/v1``: the tenant's agents as models, and chat completions, for any client of OpenAI's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from ninja import Router
from ninja.parser import Parser

from apps.sessions import selectors as sessions
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from . import completions, openai_answers
from .openai_schemas import CompletionIn

if TYPE_CHECKING:
    from apps.sessions.models import Agent

router = Router()
router.add_decorator(in_tenant_of_actor)


class StrictJson(Parser):
    """Refuses what is not JSON and could not be passed on: NaN, halves of surrogate pairs."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        body: dict[str, Any] = orjson.loads(request.body)
        return body


@router.get("/models")
def list_models(request: HttpRequest) -> JsonResponse:
    """All agents of the tenant."""
    return JsonResponse({"object": "list", "data": [_model(agent) for agent in sessions.agent_list()]})


@router.get("/models/{path:name}")
def read_model(request: HttpRequest, name: str) -> JsonResponse:
    return JsonResponse(_model(completions.agent_named(slug=name)))


@router.post("/chat/completions")
async def create_completion(request: HttpRequest, body: CompletionIn) -> HttpResponseBase:
    """The agent's answer to the conversation in the body."""
    events = await completions.begin(actor=actor_of(request), asked=body.told())
    if not body.stream:
        return JsonResponse(await openai_answers.whole_of(events, body.model))
    options = body.stream_options
    return openai_answers.response_of(
        events, body.model, include_usage=options is not None and options.include_usage
    )


def _model(agent: Agent) -> dict[str, Any]:
    created = int(agent.created_at.timestamp())
    return {"id": agent.slug, "object": "model", "created": created, "owned_by": "somaagent"}
