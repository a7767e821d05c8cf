"""From stored model profiles to a model that can be asked."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import structlog
from django.conf import settings

from apps.sessions import keys
from somaagent.agent.context import Window
from somaagent.agent.failures import ModelError, failure, not_public
from somaagent.agent.models.adapter import Adapter
from somaagent.agent.models.anthropic import Anthropic
from somaagent.agent.models.connection import Timeouts
from somaagent.agent.models.constrained_tools import ConstrainedTools
from somaagent.agent.models.embeddings import OpenAIEmbeddings, RetryingEmbeddings
from somaagent.agent.models.fallback import Candidate, FallbackModel
from somaagent.agent.models.openai_compatible import OpenAICompatible
from somaagent.agent.models.pydantic_ai import PydanticAI
from somaagent.agent.models.retrying import RetryingModel, RetryPolicy
from somaagent.agent.models.session import open_guarded_session, open_session
from somaagent.agent.ports import ChatModel, EmbeddingModel, ModelSettings
from somaagent.agent.prices import Prices
from somaagent.loops import OneForEachLoop
from somaagent.observability import metrics

from .guards import guarded, guarded_embeddings

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile

logger = structlog.get_logger(__name__)

ADAPTERS: dict[str, type[Adapter]] = {"openai_compatible": OpenAICompatible, "anthropic": Anthropic}
KEY_REFUSED = "model_refused_key"

# For models alone: one HTTP session for each event loop, and one for what is held to public addresses.
_sessions = OneForEachLoop(open_session, aiohttp.ClientSession.close)
_guarded_sessions = OneForEachLoop(
    lambda: open_guarded_session(settings.OUTBOUND_ALLOWED_NETWORKS), aiohttp.ClientSession.close
)


async def model_for(profiles: Sequence[ModelProfile]) -> ChatModel:
    """The model of the first profile, with its retries; the others stand in for it, in order.

    What the settings that it is asked with leave open, and how much may be written, each profile says for
    itself. The model raises the models' failures when it is asked, ``model_secret_missing`` too.
    """
    by_slug = {profile.slug: profile for profile in profiles}
    candidates = [
        Candidate(
            slug,
            functools.partial(_patient_model, profile),
            functools.partial(_within, profile),
            prices_of(profile),
        )
        for slug, profile in by_slug.items()
    ]

    def failed(candidate: Candidate, error: ModelError, following: Candidate | None) -> None:
        note_refusal(by_slug[candidate.name], error)
        if following is not None:
            metrics.MODEL_FALLBACKS.labels(profile=candidate.name).inc()
            logger.warning(
                "model.fallback",
                profile=candidate.name,
                fallback=following.name,
                error=error.code,
                reason=error.message,
            )

    return FallbackModel(candidates, on_failure=failed)


def note_refusal(profile: ModelProfile, error: ModelError) -> None:
    """A key that was refused may have changed in Vault: who asks next reads it anew."""
    if error.code == KEY_REFUSED and profile.secret_name:
        settings.SECRETS.forget(profile.secret_name)


def _within(profile: ModelProfile, wanted: ModelSettings) -> ModelSettings:
    most = profile.max_output_tokens
    return replace(
        wanted,
        temperature=profile.temperature if wanted.temperature is None else wanted.temperature,
        max_output_tokens=min(wanted.max_output_tokens or most, most),
        reasoning_effort=wanted.reasoning_effort or profile.reasoning_effort or None,
        thinking_tokens=profile.thinking_tokens,
    )


def window_of(profile: ModelProfile, ratio: float) -> Window:
    """What fits into the model of a profile; ``ratio`` as in ``Window``."""
    return Window(profile.context_tokens, profile.max_output_tokens, ratio)


def prices_of(profile: ModelProfile) -> Prices:
    """What the profile's answers cost now."""
    return Prices(
        input=profile.input_price,
        cached=profile.cached_price,
        output=profile.output_price,
        reasoning=profile.reasoning_price,
    )


async def embeddings_for(profile: ModelProfile) -> EmbeddingModel:
    """The profile's model, with its retries. No other stands in: vectors of two models do not compare."""
    model = guarded_embeddings(profile, await open_embeddings(profile))
    return RetryingEmbeddings(model, _policy(profile), on_retry=_telling(profile))


async def open_embeddings(profile: ModelProfile) -> EmbeddingModel:
    """The same, asked once and unguarded. Raises ``model_secret_missing`` and the adapter's."""
    return OpenAIEmbeddings(session=_session_of(profile), **await _way_to(profile))


async def open_model(profile: ModelProfile) -> ChatModel:
    """The model of one profile alone, unguarded. Raises ``model_secret_missing`` and the adapter's."""
    facts = await _way_to(profile)
    adapter = ADAPTERS.get(profile.protocol)
    model: ChatModel = (
        adapter(session=_session_of(profile), **facts) if adapter else _provided(profile, facts)
    )
    return ConstrainedTools(model) if profile.tool_calls == "constrained" else model


def _session_of(profile: ModelProfile) -> aiohttp.ClientSession:
    return (_guarded_sessions if profile.public_only else _sessions).get()


def _provided(profile: ModelProfile, facts: dict[str, Any]) -> ChatModel:
    """A provider's own client resolves and connects by itself, so it is held to the provider's address."""
    if profile.public_only and profile.base_url:
        raise not_public()
    return PydanticAI(**facts)


async def _way_to(profile: ModelProfile) -> dict[str, Any]:
    """What every adapter is made of."""
    return {
        "base_url": profile.base_url,
        "model": profile.model,
        "api_key": await _api_key(profile),
        "timeouts": Timeouts(
            connect=profile.connect_seconds,
            first_token=profile.first_token_seconds,
            idle=profile.idle_seconds,
        ),
    }


async def _patient_model(profile: ModelProfile) -> ChatModel:
    model = guarded(profile, await open_model(profile))
    return RetryingModel(model, _policy(profile), on_retry=_telling(profile))


def _policy(profile: ModelProfile) -> RetryPolicy:
    return RetryPolicy(profile.max_retries, profile.max_retry_wait_seconds)


def _telling(profile: ModelProfile) -> Callable[[ModelError, float], None]:
    def retried(error: ModelError, wait: float) -> None:
        metrics.MODEL_RETRIES.labels(profile=profile.slug).inc()
        logger.info("model.retry", profile=profile.slug, error=error.code, wait=round(wait, 3))

    return retried


async def _api_key(profile: ModelProfile) -> str | None:
    """The tenant's own key, or the one that Vault has under a name, or none."""
    if profile.encrypted_key:
        return await _read("Set it again.", keys.opened, profile)
    if profile.secret_name:
        if (known := settings.SECRETS.remembered(profile.secret_name, "api_key")) is not None:
            return str(known)
        mend = f"An operator sets it with: manage.py secret set {profile.secret_name}"
        return await _read(mend, settings.SECRETS.read, profile.secret_name, "api_key")
    return None


async def _read(mend: str, source: Callable[..., str], *arguments: object) -> str:
    """In a thread: it may have to ask Vault."""
    try:
        return await asyncio.to_thread(source, *arguments)
    except settings.SECRETS.Error as error:
        logger.warning("model.key_unreadable", reason=str(error))
        raise failure("model_secret_missing", f"The model's key cannot be read from Vault. {mend}") from error
