"""An event loop beside a story, which itself goes step by step."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol

# Longer than the longest wait of a story.
_SECONDS = 90.0

Serves = Callable[[StreamReader, StreamWriter], Coroutine[Any, Any, None]]


class Runs(Protocol):
    """Runs a coroutine on the loop and returns what it returned."""

    def __call__(self, work: Coroutine[Any, Any, Any], /) -> Any: ...


@contextlib.contextmanager
def loop_beside() -> Iterator[Runs]:
    """One in a thread of its own. What is still under way at the end is cancelled."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loop-beside", daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, Any], /) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(_SECONDS)

    try:
        yield run
    finally:
        run(_cancelled())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def server_beside(serve: Serves, host: str, port: int, **how: Any) -> Iterator[int]:
    """A server on a loop beside, as asyncio's ``start_server`` makes it; gives its port."""
    with loop_beside() as run:
        server = run(asyncio.start_server(serve, host, port, **how))
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            run(_closed(server))


async def _closed(server: asyncio.Server) -> None:
    server.close()


async def _cancelled() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
