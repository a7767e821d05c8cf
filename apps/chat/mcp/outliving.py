"""What goes on when the request that began it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_running: set[asyncio.Task[Any]] = set()


def start(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task of its own: the SDK's scopes, which cancel all waits of a request that ends, do not reach it."""
    task = asyncio.create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


async def stopped_with_me(work: Coroutine[Any, Any, T]) -> T:
    """What the work gives. Cancelled with whoever waits here, it still has the time to say so."""
    task = start(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        raise
