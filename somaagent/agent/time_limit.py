"""A limit for many short waits of one task, which sets no timer for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class LimitReached(TimeoutError):  # noqa: N818 - it says what happened
    """What was awaited did not come in time."""


class TimeLimit:
    """``asyncio.timeout_at`` for one wait after the other: a model writes a token at a time.

    Its timer stays from one wait to the next, and is set anew when it comes too soon. To be closed.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._until = 0.0
        self._waiting: asyncio.Task[Any] | None = None
        self._late = False

    async def within(self, until: float, awaited: Awaitable[T]) -> T:
        """What is awaited. ``until`` is a time of the event loop's clock: raises ``LimitReached``
        then.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("Only a task can wait.")
        cancelled = task.cancelling()
        self._until, self._waiting = until, task
        if self._timer is None or until < self._timer_at:
            self._set()
        try:
            return await awaited
        except asyncio.CancelledError:
            # Somebody else may have cancelled it as well: they are to be heard.
            if self._late and task.cancelling() == cancelled + 1:
                raise LimitReached from None
            raise
        finally:
            self._waiting = None
            if self._late:
                self._late = False
                task.uncancel()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self) -> None:
        self.close()
        self._timer_at = self._until
        self._timer = self._loop.call_at(self._until, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._waiting is None:
            return
        if self._loop.time() < self._until:
            self._set()
        else:
            self._late = True
            self._waiting.cancel()
