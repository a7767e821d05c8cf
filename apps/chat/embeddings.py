"""Embeddings: texts as vectors, by a model profile of the tenant's that gives them. Nothing is stored."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from apps.sessions import selectors as sessions
from somaagent.agent import tokens
from somaagent.agent.failures import ModelError, garbled
from somaagent.agent.messages import Usage
from somaagent.agent.ports import EmbeddingInputs, Embeddings
from somaagent.agent.prices import priced
from somaagent.errors import Kind, SomaError
from somaagent.observability import metrics
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.ledger.models import Source
from somaagent.tenancy.payers import Payer
from somaagent.tenancy.scope import in_tenant

from . import charges, reach
from .spending import Spent

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller wants: a profile by its slug, the inputs, how long and how exact the vectors shall be."""

    profile: str
    inputs: EmbeddingInputs
    dimensions: int | None = None
    exact: bool = False


def profile_named(*, slug: str) -> ModelProfile:
    """The tenant's profile. Raises ``model_not_found``: callers know profiles as models."""
    # Compared here: a name from outside may hold what the database cannot take.
    profile = next((one for one in sessions.embedding_profile_list() if one.slug == slug), None)
    if profile is None:
        raise SomaError(
            Kind.NOT_FOUND,
            "model_not_found",
            f"No model {slug[:80]!r} gives embeddings here: GET /v1/models lists those that do.",
            field="body.model",
        )
    return profile


def _profile_chosen(*, actor: Actor, slug: str) -> tuple[ModelProfile, bool]:
    """With whether budgets apply. Raises ``budget_exceeded`` where one of them has nothing left."""
    return profile_named(slug=slug), charges.affordable(actor, None)


async def embed(*, actor: Actor, wanted: Wanted) -> Embeddings:
    """One vector for each input. Raises the models' failures; closing the request stops the model's."""
    _check(wanted.inputs)
    profile, budgeted = await in_tenant(actor.tenant_id, _profile_chosen, actor=actor, slug=wanted.profile)
    account = charges.Account(
        Payer(actor.tenant_id, actor.user_id, Source.EMBEDDINGS, uuid7(), actor.key_id),
        [profile],
        budgeted=budgeted,
    )
    started = time.monotonic()
    state, code = "failed", None
    try:
        await account.reserve(read=sum(tokens.guess_of(one) for one in wanted.inputs))
        given = await _embedded(profile, wanted)
        await account.charge(Spent(1, priced(given.usage, reach.prices_of(profile)), profile.slug))
        state = "completed"
    except ModelError as error:
        code = error.code
        reach.note_refusal(profile, error)
        raise
    except asyncio.CancelledError:
        state = "stopped"
        raise
    finally:
        await account.close()
        _record(profile, wanted, state, time.monotonic() - started, account.used, code)
    return given


async def _embedded(profile: ModelProfile, wanted: Wanted) -> Embeddings:
    model = await reach.embeddings_for(profile)
    given = await model.embed(wanted.inputs, dimensions=wanted.dimensions, exact=wanted.exact)
    expected = wanted.dimensions or profile.dimensions
    if expected not in (None, found := len(given.vectors[0])):
        # Vectors of another length would spoil whatever they are kept with.
        raise garbled(f"its vectors have {found} numbers, and {expected} were expected")
    return given


def _check(inputs: EmbeddingInputs) -> None:
    """Each input may be as long as a message."""
    most = settings.MESSAGE_MAX_CHARS
    for number, one in enumerate(inputs):
        if len(one) > most:
            raise SomaError(
                Kind.TOO_LARGE,
                "input_too_long",
                f"An input may have {most} characters or tokens; this one has {len(one)}.",
                field=f"body.input[{number}]",
            )


def _record(
    profile: ModelProfile, wanted: Wanted, state: str, seconds: float, usage: Usage, error: str | None
) -> None:
    metrics.EMBEDDINGS.labels(state=state).inc()
    metrics.EMBEDDING_SECONDS.observe(seconds)
    metrics.count_tokens(usage.tokens())
    logger.info(
        "embeddings.finished",
        profile=profile.slug,
        inputs=len(wanted.inputs),
        state=state,
        seconds=round(seconds, 3),
        error=error,
    )
