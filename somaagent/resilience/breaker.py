"""The circuit breaker: what keeps failing is left in peace for a while. Its state is shared through Valkey.

The states and their changes are purgatory's; where they are kept, and that a half-open breaker lets one
trial through at a time, over all processes, is ours.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from enum import Enum, auto
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import structlog
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

from somaagent import valkey
from somaagent.errors import Kind, SomaError
from somaagent.observability import metrics

from .breaker_store import Terms, ValkeyRepository, ValkeyUnitOfWork, is_well

P = ParamSpec("P")
R = TypeVar("R")

logger = structlog.get_logger(__name__)


class Verdict(Enum):
    """What the outcome of a call says of the one that was called."""

    FAILED = auto()
    ANSWERED = auto()
    UNKNOWN = auto()


class CircuitOpen(SomaError):  # noqa: N818 - named for the state that the caller met
    """The breaker lets nobody in now. ``retry_after``: seconds until it will let a trial through."""

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(
            Kind.UNAVAILABLE,
            "circuit_open",
            f"{name} has failed too often and is not asked now. Try again in {retry_after:.0f} seconds.",
            retry_after=retry_after,
        )


def any_error_fails(error: Exception) -> Verdict:
    del error
    return Verdict.FAILED


class CircuitBreaker:
    """``failures`` in a row open it; then nobody is let in for ``seconds``, and after them one call as a
    trial, which closes it or opens it again. A trial that takes longer than ``seconds`` makes room for
    another.

    ``name`` is made of ids: health and metrics show it. ``judge`` says what an error says of the one that was
    called; a call that is cancelled says nothing. Use ``async with breaker.guard():`` around a call, or the
    breaker itself as a decorator of a coroutine function. Both raise ``CircuitOpen``, and ``valkey.ERRORS``
    when it cannot be known whether the breaker is open: nothing is let through then.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int,
        seconds: float,
        judge: Callable[[Exception], Verdict] = any_error_fails,
    ) -> None:
        if failures < 1 or seconds <= 0:
            message = "A breaker opens after at least one failure, for more than no time."
            raise ValueError(message)
        self.judge = judge
        self.terms = Terms(name, failures, seconds)

    @property
    def name(self) -> str:
        return self.terms.name

    def guard(self) -> AbstractAsyncContextManager[None]:
        """One call. Not to be used twice."""
        return _Call(self)

    def __call__(self, function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        @functools.wraps(function)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            async with self.guard():
                return await function(*args, **kwargs)

        return guarded


class _Call(AbstractAsyncContextManager[None]):
    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._store = ValkeyRepository(breaker.terms)
        # None where the breaker is known to be closed: of its state a failure alone is told.
        self._guarded: AbstractAsyncContextManager[Any] | None = None

    async def __aenter__(self) -> None:
        name = self._breaker.name
        if is_well(name):
            return
        try:
            factory = AsyncCircuitBreakerFactory(uow=ValkeyUnitOfWork(self._store))
            self._guarded = await factory.get_breaker(name)
        except valkey.ERRORS as error:
            _store_away(name, "before", error)
            raise
        try:
            await self._guarded.__aenter__()
        except OpenedState:
            metrics.BREAKER_REFUSED.labels(breaker=name).inc()
            raise CircuitOpen(name, self._store.wait_seconds) from None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The call's own outcome stands, whether or not it can be told to the others."""
        verdict = self._verdict(error)
        try:
            if self._guarded is None:
                if verdict is Verdict.FAILED:
                    await self._store.inc_failures(self._breaker.name, 1)
            elif verdict is Verdict.UNKNOWN:
                await self._store.release()
            elif verdict is Verdict.FAILED:
                await self._guarded.__aexit__(kind, error, trace)
            else:
                await self._guarded.__aexit__(None, None, None)
        except valkey.ERRORS as away:
            _store_away(self._breaker.name, "after", away)

    def _verdict(self, error: BaseException | None) -> Verdict:
        if error is None:
            return Verdict.ANSWERED
        return self._breaker.judge(error) if isinstance(error, Exception) else Verdict.UNKNOWN


def _store_away(name: str, when: str, error: Exception) -> None:
    metrics.RESILIENCE_STORE_ERRORS.labels(what="breaker").inc()
    logger.error("breaker.store_unavailable", breaker=name, when=when, reason=str(error))
