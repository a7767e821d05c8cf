"""Sessions with MCP servers: for each event loop and server one, kept while it is used.

A session lives in a task of its own, from which it is opened and closed. Who needs it waits for it, and is
told why it broke. It is closed when nobody has used it for a while, when its server's row has changed, and
after a call that timed out: what else the server still says on it is of no use. The next call opens another;
after a failure to open one, only when a growing pause is over.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import time
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from somaagent.errors import SomaError
from somaagent.observability import metrics

from . import failures
from .servers import Server

if TYPE_CHECKING:
    from .sdk import Session

IDLE_SECONDS = 300.0
MOST_OPEN = 64
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
_CLOSE_SECONDS = 10.0
_LAST_USERS_SECONDS = 0.05
T = TypeVar("T")
Ask = Callable[["Session"], Awaitable[T]]

logger = structlog.get_logger(__name__)


class _Kept:
    """One session and the task that it lives in."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.users = 0
        self.used_at = time.monotonic()
        self._ready: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        # Without the caller's context: its trace and log fields are not the session's.
        self.task = asyncio.create_task(self._live(), name=f"mcp {server.key}", context=contextvars.Context())

    @property
    def usable(self) -> bool:
        return not self._over.is_set() and not self.task.done()

    def retire(self) -> None:
        """No new use; closed when its users are done."""
        self._over.set()

    async def ask(self, ask: Ask[T]) -> T:
        self.users += 1
        try:
            session = await self._session()
            call = asyncio.ensure_future(ask(session))
            try:
                await asyncio.wait({call, self.task}, return_when=asyncio.FIRST_COMPLETED)
                if call.done():
                    return call.result()
                self.task.result()
                raise failures.failed("mcp_ended", f"The MCP server {self.server.slug} hung up.")
            finally:
                if not call.done():
                    call.cancel()
                    await asyncio.wait({call})
        finally:
            self.users -= 1
            self.used_at = time.monotonic()

    async def _session(self) -> Session:
        both: set[asyncio.Future[Any]] = {self._ready, self.task}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            self.task.result()
            raise failures.failed("mcp_ended", f"The MCP server {self.server.slug} hung up.")
        return self._ready.result()

    async def _live(self) -> None:
        # A second or two, the first time: not in the event loop.
        sdk = await asyncio.to_thread(importlib.import_module, "apps.tools.mcp.sdk")
        state = metrics.MCP_SESSIONS.labels(state="opening")
        state.inc()
        try:
            async with sdk.opened(self.server) as session:
                state.dec()
                state = metrics.MCP_SESSIONS.labels(state="open")
                state.inc()
                self._ready.set_result(session)
                await self._until_over()
        finally:
            state.dec()
            self._over.set()

    async def _until_over(self) -> None:
        """Until it is retired or was idle for long enough, and nobody uses it."""
        while not self._over.is_set():
            idle = 0.0 if self.users else time.monotonic() - self.used_at
            if idle >= IDLE_SECONDS:
                self._over.set()
                break
            with suppress(TimeoutError):  # time to look again
                async with asyncio.timeout(IDLE_SECONDS - idle):
                    await self._over.wait()
        while self.users:  # noqa: ASYNC110 - rare, and each of them has a time-out
            await asyncio.sleep(_LAST_USERS_SECONDS)


class Pool:
    """The sessions of one event loop."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._pauses: dict[str, tuple[int, float]] = {}

    async def ask(self, server: Server, ask: Ask[T], seconds: float) -> T:
        """What ``ask`` makes of a session, within ``seconds`` in all. Raises the failures of ``failures``."""
        kept = self._of(server)
        try:
            async with asyncio.timeout(seconds):
                answer = await kept.ask(ask)
        except TimeoutError as error:
            kept.retire()
            self._failed(server)
            raise failures.timed_out(server.slug, seconds) from error
        except SomaError as error:
            if error.code in failures.BROKEN:
                kept.retire()
            if kept.task.done():
                self._failed(server)
            raise
        self._pauses.pop(server.key, None)
        return answer

    def drop(self, server: Server) -> None:
        """The next use opens another session."""
        if kept := self._kept.get(server.key):
            kept.retire()

    async def close(self) -> None:
        """Close all of them, whoever uses them."""
        tasks = [kept.task for kept in self._kept.values() if not kept.task.done()]
        self._kept.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)

    def _of(self, server: Server) -> _Kept:
        kept = self._kept.get(server.key)
        if kept is not None and kept.server.revision != server.revision:
            kept.retire()
        if kept is None or not kept.usable:
            self._check_pause(server)
            self._make_room()
            kept = self._kept[server.key] = _Kept(server)
            kept.task.add_done_callback(_ended)
        return kept

    def _check_pause(self, server: Server) -> None:
        _, until = self._pauses.get(server.key, (0, 0.0))
        left = until - time.monotonic()
        if left > 0:
            message = f"The MCP server {server.slug} has just failed. Try again in {left:.0f} s."
            raise failures.failed("mcp_restarting", message, retry_after=left)

    def _failed(self, server: Server) -> None:
        times = self._pauses.get(server.key, (0, 0.0))[0] + 1
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(times - 1, 10), LONGEST_PAUSE_SECONDS)
        self._pauses[server.key] = times, time.monotonic() + pause

    def _make_room(self) -> None:
        for key in [key for key, kept in self._kept.items() if kept.task.done()]:
            del self._kept[key]
        if len(self._kept) < MOST_OPEN:
            return
        idle = [kept for kept in self._kept.values() if not kept.users]
        if not idle:
            raise failures.failed("mcp_busy", "Too many MCP servers are in use. Try again.", retry_after=5)
        longest = min(idle, key=lambda kept: kept.used_at)
        longest.retire()
        del self._kept[longest.server.key]


def _ended(task: asyncio.Task[None]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    if isinstance(error, SomaError):
        logger.info("mcp.session_ended", session=task.get_name(), error=error.code)
    else:
        logger.error("mcp.session_failed", session=task.get_name(), exc_info=error)


_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pool] = weakref.WeakKeyDictionary()


def pool() -> Pool:
    """The running event loop's."""
    loop = asyncio.get_running_loop()
    if loop not in _pools:
        _pools[loop] = Pool()
    return _pools[loop]


async def close() -> None:
    """Close the running loop's sessions. The next use opens others."""
    if found := _pools.pop(asyncio.get_running_loop(), None):
        await found.close()
