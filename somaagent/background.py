"""Coroutines from code that has no event loop: one loop for each process, in a thread of its own.

Celery runs no coroutines; its tasks hand theirs here, so that connections of the loop are kept from one
task to the next.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from somaagent import loops

T = TypeVar("T")
_END_SECONDS = 5.0


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it to its end on this process's loop and give back what it returned or raised."""
    return asyncio.run_coroutine_threadsafe(coroutine, _loop(os.getpid())).result()


@functools.lru_cache(maxsize=1)
def _loop(_: int) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="event-loop", daemon=True).start()
    atexit.register(_end, loop, os.getpid())
    return loop


def _end(loop: asyncio.AbstractEventLoop, pid: int) -> None:
    """Close what the loop has. A fork has no part in it: the loop's thread is not among its own."""
    if os.getpid() == pid:
        asyncio.run_coroutine_threadsafe(loops.close(), loop).result(_END_SECONDS)
