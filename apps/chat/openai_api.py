"""``/v1`` for any client of OpenAI's API: agents as models, chat completions, embeddings."""

from __future__ import annotations

from typing import Any

import orjson
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from ninja import Router
from ninja.parser import Parser

from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from . import completions, embeddings, openai_answers, openai_embeddings, openai_models
from .openai_embeddings import EmbeddingIn
from .openai_schemas import CompletionIn

router = Router()
router.add_decorator(in_tenant_of_actor)


class StrictJson(Parser):
    """Refuses what is not JSON and could not be passed on: NaN, halves of surrogate pairs."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        body: dict[str, Any] = orjson.loads(request.body)
        return body


@router.get("/models")
def list_models(request: HttpRequest) -> JsonResponse:
    """All agents of the tenant, then its models that give embeddings."""
    return JsonResponse({"object": "list", "data": openai_models.models()})


@router.get("/models/{path:name}")
def read_model(request: HttpRequest, name: str) -> JsonResponse:
    return JsonResponse(openai_models.model(name))


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


@router.post("/embeddings")
async def create_embeddings(request: HttpRequest, body: EmbeddingIn) -> HttpResponseBase:
    """A vector for each text in the body."""
    given = await embeddings.embed(actor=actor_of(request), wanted=body.told())
    return openai_embeddings.answer_of(given, body)
