"""What stands between us and a model's server: the profile's circuit breaker and its rate limit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from somaagent.agent import failures
from somaagent.agent.failures import ModelError
from somaagent.agent.models.guarded import Guard, GuardedEmbeddings, GuardedModel
from somaagent.agent.ports import ChatModel, EmbeddingModel
from somaagent.resilience.breaker import CircuitBreaker, CircuitOpen, Verdict
from somaagent.resilience.limiter import Rate, RateLimited, SharedRateLimiter

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile

# Away, silent, failing or not making sense.
_FAILED = frozenset({"model_unreachable", "model_timeout", "model_failed", "model_garbled", "model_cut_off"})
# It is there, and says that the request, the key or the model's name is at fault.
_ANSWERED = frozenset({"model_refused_request", "model_refused_key", "model_not_found", failures.TOO_LONG})


def breaker_name(profile: ModelProfile) -> str:
    """Made of ids alone: health and metrics show it."""
    return f"model:{profile.tenant_id}:{profile.id}"


def guarded(profile: ModelProfile, model: ChatModel) -> ChatModel:
    """The model behind the guards that its profile asks for."""
    for guard in _guards(profile):
        model = GuardedModel(model, guard)
    return model


def guarded_embeddings(profile: ModelProfile, model: EmbeddingModel) -> EmbeddingModel:
    """The same for a model that gives embeddings."""
    for guard in _guards(profile):
        model = GuardedEmbeddings(model, guard)
    return model


def _guards(profile: ModelProfile) -> Iterator[Guard]:
    """From the model outwards: what the breaker refuses uses up no rate."""
    if profile.requests_per_minute:
        yield _rated(profile, profile.requests_per_minute)
    if profile.breaker_failures:
        yield _broken(profile)


def _rated(profile: ModelProfile, calls: int) -> Guard:
    limiter = SharedRateLimiter(breaker_name(profile), Rate(calls))

    @asynccontextmanager
    async def counted() -> AsyncIterator[None]:
        try:
            await limiter.acquire(profile.max_retry_wait_seconds)
        except RateLimited as error:
            raise failures.over_own_rate(calls, error.retry_after) from error
        yield

    return counted


def _broken(profile: ModelProfile) -> Guard:
    breaker = CircuitBreaker(
        breaker_name(profile),
        failures=profile.breaker_failures,
        seconds=profile.breaker_seconds,
        judge=_judge,
    )

    @asynccontextmanager
    async def unless_open() -> AsyncIterator[None]:
        try:
            async with breaker.guard():
                yield
        except CircuitOpen as error:
            raise failures.circuit_open(error.retry_after) from error

    return unless_open


def _judge(error: Exception) -> Verdict:
    """A model that is too busy (429) is neither well nor broken, and what is our own fault says nothing."""
    code = error.code if isinstance(error, ModelError) else ""
    if code in _FAILED:
        return Verdict.FAILED
    return Verdict.ANSWERED if code in _ANSWERED else Verdict.UNKNOWN
