"""The moment at which a whole run has to be over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

from somaagent.agent.limits import took_too_long
from somaagent.agent.ports import ModelChunk
from somaagent.agent.time_limit import LimitReached, TimeLimit
from somaagent.errors import SomaError

T = TypeVar("T")


class Deadline:
    """``seconds`` from now; ``None``: never. Raises ``turn_timeout`` when it comes. To be closed."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._at = None if seconds is None else asyncio.get_running_loop().time() + seconds
        self._limit = TimeLimit()

    async def next(self, chunks: AsyncIterator[ModelChunk]) -> ModelChunk | None:
        """The next chunk, or ``None`` after the last."""
        try:
            if self._at is None:
                return await anext(chunks)
            return await self._limit.within(self._at, anext(chunks))
        except StopAsyncIteration:
            return None
        except LimitReached:
            raise self._over() from None

    def close(self) -> None:
        self._limit.close()

    async def first(self, tasks: Iterable[asyncio.Task[T]]) -> set[asyncio.Task[T]]:
        """The tasks that are done, at least one."""
        left = None if self._at is None else max(0.0, self._at - asyncio.get_running_loop().time())
        done, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise self._over()
        return done

    def _over(self) -> SomaError:
        return took_too_long(self._seconds or 0.0)
