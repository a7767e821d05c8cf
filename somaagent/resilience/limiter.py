"""Rate limiters: so many calls in any stretch of so many seconds, over all processes or in one event loop.

The counting is limits' (moving window: exact, and it knows when the next call may go). Ours is the waiting:
whoever came first goes first.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from abc import ABC, abstractmethod
from dataclasses import dataclass

import structlog
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from somaagent import valkey
from somaagent.errors import Kind, SomaError
from somaagent.loops import OneForEachLoop
from somaagent.observability import metrics

from . import keys

logger = structlog.get_logger(__name__)

_SHORTEST_WAIT = 0.005


@dataclass(frozen=True, slots=True)
class Rate:
    """``calls`` in any stretch of ``seconds``."""

    calls: int
    seconds: int = 60

    def __post_init__(self) -> None:
        if self.calls < 1 or self.seconds < 1:
            message = "A rate is at least one call in at least one second."
            raise ValueError(message)


class RateLimited(SomaError):  # noqa: N818 - named for what happened to the call
    """There is no room for another call soon enough. ``retry_after``: seconds until there may be."""

    def __init__(self, rate: Rate, retry_after: float) -> None:
        super().__init__(
            Kind.RATE_LIMITED,
            "rate_limited",
            f"No more than {rate.calls} calls in {rate.seconds} seconds are allowed here. "
            f"Try again in {max(1.0, retry_after):.0f} seconds.",
            retry_after=retry_after,
        )


class RateLimiter(ABC):
    """``name`` is made of ids: metrics show it. Limiters of one name and rate count together.

    Within one event loop those who wait go in the order in which they came; between processes whoever looks
    first.
    """

    def __init__(self, name: str, rate: Rate) -> None:
        self.name = name
        self.rate = rate
        self._item = RateLimitItemPerSecond(rate.calls, rate.seconds, namespace="calls")

    async def acquire(self, patience: float = 0.0) -> None:
        """Count one call, after a wait of at most ``patience`` seconds. Raises ``RateLimited``, at once where
        the wait would be longer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        turn = self._queue()
        queued = turn.locked()
        try:
            async with asyncio.timeout_at(deadline):
                await turn.acquire()
        except TimeoutError:
            raise self._refused(await self._until_room(self._strategy())) from None
        try:
            waited = await self._hit(loop, deadline)
        finally:
            turn.release()
        if queued or waited:
            metrics.RATE_LIMIT_WAITS.labels(limit=self.name).inc()

    async def _hit(self, loop: asyncio.AbstractEventLoop, deadline: float) -> bool:
        """Count the call as soon as there is room; whether that took a wait."""
        strategy = self._strategy()
        waited = False
        while not await strategy.hit(self._item, self.name):
            wait = await self._until_room(strategy)
            if loop.time() + wait > deadline:
                raise self._refused(wait)
            waited = True
            await asyncio.sleep(wait)
        return waited

    async def _until_room(self, strategy: MovingWindowRateLimiter) -> float:
        window = await strategy.get_window_stats(self._item, self.name)
        return max(window.reset_time - time.time(), 0.0) + _SHORTEST_WAIT

    def _refused(self, wait: float) -> RateLimited:
        metrics.RATE_LIMITED.labels(limit=self.name).inc()
        return RateLimited(self.rate, wait)

    def _queue(self) -> asyncio.Lock:
        """Those who wait for this name here. It is forgotten when nobody does."""
        queues = _queues.get()
        key = (type(self), self.name, self.rate)
        found = queues.get(key)
        if found is None:
            found = queues[key] = asyncio.Lock()
        return found

    @abstractmethod
    def _strategy(self) -> MovingWindowRateLimiter:
        """The counting, of the running event loop."""


def _no_queues() -> weakref.WeakValueDictionary[tuple[type[RateLimiter], str, Rate], asyncio.Lock]:
    return weakref.WeakValueDictionary()


_queues = OneForEachLoop(_no_queues)


class LocalRateLimiter(RateLimiter):
    """Counts the calls of one event loop."""

    _of_loop = OneForEachLoop(lambda: MovingWindowRateLimiter(MemoryStorage()))

    def _strategy(self) -> MovingWindowRateLimiter:
        return self._of_loop.get()


class SharedRateLimiter(RateLimiter):
    """Counts the calls of all processes, in Valkey. Also raises ``valkey.ERRORS``: a call that cannot be
    counted is not let through.
    """

    _of_loop = OneForEachLoop(lambda: MovingWindowRateLimiter(_shared_storage()))

    async def acquire(self, patience: float = 0.0) -> None:
        try:
            await super().acquire(patience)
        except valkey.ERRORS as error:
            metrics.RESILIENCE_STORE_ERRORS.labels(what="rate_limit").inc()
            logger.error("rate_limit.store_unavailable", limit=self.name, reason=str(error))  # noqa: TRY400 - its raiser's trace says nothing more
            raise

    def _strategy(self) -> MovingWindowRateLimiter:
        return self._of_loop.get()


def _shared_storage() -> RedisStorage:
    """Over our own client's connections, with their password, TLS and patience with a restart."""
    pool = valkey.client().connection_pool
    return RedisStorage(
        "async+redis://", implementation="redispy", key_prefix=keys.RATES, connection_pool=pool
    )
