"""``/api/v1/model-profiles``: ways to reach models. Everybody reads them, owners and admins make them."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Query, Router, Status

from somaagent.problems import PROBLEMS, Problem
from somaagent.web.idempotency import IdempotencyKey, idempotency_of_text
from somaagent.web.pagination import Page, PageQuery, page_of
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from . import profiles, selectors
from .profile_schemas import ModelProfileIn, ModelProfileOut, ModelProfilePatch

router = Router(tags=["agents"])
router.add_decorator(in_tenant_of_actor)
VAULT_AWAY: dict[int, type[Problem]] = {503: Problem}


@router.get("/model-profiles", response={200: Page[ModelProfileOut], **PROBLEMS})
def list_model_profiles(request: HttpRequest, page: Query[PageQuery]) -> Any:
    """Ways to reach models."""
    return page_of(selectors.model_profile_list(), page)


@router.post("/model-profiles", response={201: ModelProfileOut, 409: Problem, **PROBLEMS, **VAULT_AWAY})
def create_model_profile(
    request: HttpRequest, body: ModelProfileIn, idempotency_key: IdempotencyKey = None
) -> Any:
    """For owners and admins: a way to reach a model at a public address, with a key of your own."""
    made = profiles.model_profile_create(
        actor=actor_of(request),
        slug=body.slug,
        facts=body.facts(),
        idempotency=idempotency_of_text(idempotency_key, body.fingerprint()),
    )
    return Status(201, made)


@router.get("/model-profiles/{slug:slug}", response={200: ModelProfileOut, **PROBLEMS})
def read_model_profile(request: HttpRequest, slug: str) -> Any:
    return selectors.model_profile_read(slug=slug)


@router.patch("/model-profiles/{slug:slug}", response={200: ModelProfileOut, **PROBLEMS, **VAULT_AWAY})
def change_model_profile(request: HttpRequest, slug: str, body: ModelProfilePatch) -> Any:
    """For owners and admins. Who names another server sends its key too, or null."""
    return profiles.model_profile_change(actor=actor_of(request), slug=slug, changes=body.facts())


@router.delete("/model-profiles/{slug:slug}", response={204: None, 409: Problem, **PROBLEMS})
def delete_model_profile(request: HttpRequest, slug: str) -> Any:
    """For owners and admins: a profile that no agent speaks with and none falls back to, with its key."""
    profiles.model_profile_delete(actor=actor_of(request), slug=slug)
    return Status(204, None)
