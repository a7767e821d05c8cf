"""What an event loop has one of, such as a client that keeps its connections, and who closes it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_kinds: list[OneForEachLoop[Any]] = []


class OneForEachLoop(Generic[T]):
    """Made when a loop first asks for it. Whoever ends a loop awaits ``close`` in it before. For modules.

    Without a ``close`` it lives as long as its loop.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]] | None = None) -> None:
        self._make, self._close = make, close
        self._made: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T] = weakref.WeakKeyDictionary()
        _kinds.append(self)

    def get(self) -> T:
        """The running loop's."""
        loop = asyncio.get_running_loop()
        if loop not in self._made:
            self._made[loop] = self._make()
        return self._made[loop]

    async def close(self) -> None:
        """Close the running loop's. Who asks next has another one made."""
        if self._close is None:
            return
        if (made := self._made.pop(asyncio.get_running_loop(), None)) is not None:
            await self._close(made)


async def close() -> None:
    """Close all that the running loop has, first what was declared last."""
    for kind in reversed(_kinds):
        await kind.close()
