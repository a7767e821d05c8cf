"""Blocking calls off the loop, each in a thread that nothing waits for longer than its limit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_running: set[threading.Thread] = set()


async def in_thread(function: Callable[[], T], *, limit: float) -> T:
    """The function's result. Raises ``TimeoutError`` after ``limit`` seconds; the thread ends later.

    The threads are daemons: a call that hangs for good keeps neither a pool's place nor the process.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def deliver(value: T | None, error: BaseException | None) -> None:
        if result.done():
            return
        if error is None:
            result.set_result(value)  # type: ignore[arg-type]  # no error means that there is a value
        else:
            result.set_exception(error)

    def run() -> None:
        value: T | None = None
        error: BaseException | None = None
        try:
            value = function()
        except SystemExit as exit_:  # a library that gives up must not be lost in a thread
            error = RuntimeError(str(exit_.code))
        except BaseException as raised:  # noqa: BLE001 - handed on to the caller, whatever it is
            error = raised
        _running.discard(threading.current_thread())
        try:
            loop.call_soon_threadsafe(deliver, value, error)
        except RuntimeError:
            return  # the loop has closed: nobody waits for this any more

    thread = threading.Thread(
        target=run, name=f"call-{getattr(function, '__name__', 'adapter')}", daemon=True
    )
    _running.add(thread)
    thread.start()
    async with asyncio.timeout(limit):
        return await result


def finish(limit: float) -> None:
    """Give calls that are under way up to ``limit`` seconds to end."""
    deadline = time.monotonic() + limit
    for thread in list(_running):
        thread.join(max(0.0, deadline - time.monotonic()))
