"""Reading a server's tools: bounded, judged tool by tool, and kept for all processes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from somaagent.errors import SomaError
from somaagent.loops import OneForEachLoop
from somaagent.observability import metrics
from somaagent.resilience.breaker import CircuitBreaker, CircuitOpen

from . import failures, schemas, state
from .servers import Server
from .sessions import pool
from .state import Listed
from .texts import bounded, fitted, is_taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .sdk import Session

MOST_PAGES = 20
FRESH_SECONDS = 300.0
BREAKER_FAILURES = 5
BREAKER_SECONDS = 30.0
_MOST_REMARKS = 50
_MOST_NAME = 80

logger = structlog.get_logger(__name__)

_reading: OneForEachLoop[dict[str, Reading]] = OneForEachLoop(dict)


@asynccontextmanager
async def guarded(server: Server) -> AsyncIterator[None]:
    """The server's circuit breaker. Raises ``mcp_circuit_open``, and ``valkey.ERRORS``."""
    breaker = CircuitBreaker(
        server.breaker, failures=BREAKER_FAILURES, seconds=BREAKER_SECONDS, judge=failures.judge
    )
    try:
        async with breaker.guard():
            yield
    except CircuitOpen as error:
        wait = error.retry_after or BREAKER_SECONDS
        message = (
            f"The MCP server {server.slug} keeps failing and is not asked now. Try again in {wait:.0f} s."
        )
        raise failures.failed("mcp_circuit_open", message, retry_after=wait) from error


async def read(server: Server) -> None:
    """Asks the server for its tools and keeps them, or why it failed, which it raises."""
    begun, outcome = time.monotonic(), "read"
    try:
        async with guarded(server):
            raw, cut = await pool().ask(server, lambda session: _pages(session, server), _seconds(server))
    except SomaError as error:
        outcome = error.code
        if error.code in failures.BROKEN:
            await state.keep_failure(server, error.code, error.message)
        logger.warning("mcp.list_failed", server_id=server.id, error=error.code, reason=error.message)
        raise
    finally:
        metrics.MCP_LISTS.labels(outcome=outcome).inc()
        metrics.MCP_LIST_SECONDS.observe(time.monotonic() - begun)
    # Its schemas may be large, and are written out: not in the event loop.
    tools, remarks = await asyncio.to_thread(judged, server, raw, cut=cut)
    await state.keep_list(server, tools, remarks)
    logger.info("mcp.list_read", server_id=server.id, tools=len(tools), remarks=len(remarks))


@dataclass(frozen=True, slots=True)
class Reading:
    """A list that is being read, ``since`` a moment of the monotonic clock."""

    task: asyncio.Task[None]
    since: float


def begin(server: Server) -> Reading:
    """``read`` in the background; the one that is under way, where one is. Nobody has to await it."""
    running = _reading.get()
    if server.key not in running:
        task = asyncio.create_task(read(server), name=f"mcp list {server.key}")
        running[server.key] = Reading(task, time.monotonic())

        def ended(task: asyncio.Task[None]) -> None:
            running.pop(server.key, None)
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, SomaError):
                logger.error("mcp.list_lost", server_id=server.id, exc_info=error)

        task.add_done_callback(ended)
    return running[server.key]


async def refresh(server: Server) -> None:
    """Begins to read it again, unless another process does so now."""
    if await state.claim(server):
        begin(server)


async def idle() -> None:
    """Returns when this loop reads nothing."""
    while running := list(_reading.get().values()):
        await asyncio.wait([reading.task for reading in running])


def _seconds(server: Server) -> float:
    """Two parts of the greeting, and the first page; the rest of a long list is quick or is not read."""
    return 3 * server.connect_seconds


async def _pages(session: Session, server: Server) -> tuple[list[dict[str, Any]], bool]:
    """At most one tool more than are taken; and whether there were more pages than are asked for."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await session.page(cursor)
        found += page.tools
        cursor = page.next
        if cursor is None or len(found) > server.most_tools:
            return found, False
    return found, True


def judged(server: Server, raw: Sequence[dict[str, Any]], *, cut: bool) -> tuple[list[Listed], list[str]]:
    """The tools that are taken, and of the others why not. A name that two share is neither's."""
    taken, remarks = [], list(_of_the_whole(server, raw, cut=cut))
    names = Counter(str(tool.get("name", "")) for tool in raw)
    shown = Counter(fitted(server.slug, name) for name in names)
    for tool in raw[: server.most_tools]:
        name = str(tool.get("name", ""))
        label = bounded(name, _MOST_NAME).replace("\n", " ") or "a tool without a name"
        if not is_taken(name):
            remarks.append(f"{label}: not taken, its name is too long or has a character that is not taken.")
            continue
        if names[name] > 1 or shown[fitted(server.slug, name)] > 1:
            remarks.append(f"{label}: not taken, two tools have this name.")
            continue
        try:
            listed, notes = _listed(server, name, tool)
        except schemas.UnfitError as error:
            remarks.append(f"{label}: not taken, {error}.")
            continue
        taken.append(listed)
        remarks += [f"{label}: without {note}." for note in notes]
    if len(remarks) > _MOST_REMARKS:
        remarks[_MOST_REMARKS:] = [f"And {len(remarks) - _MOST_REMARKS} more."]
    return taken, remarks


def _of_the_whole(server: Server, raw: Sequence[dict[str, Any]], *, cut: bool) -> Iterator[str]:
    if len(raw) > server.most_tools:
        yield f"It has more than {server.most_tools} tools: the rest is left out."
    if cut:
        yield f"Its list has more than {MOST_PAGES} pages: the rest is not read."


def _listed(server: Server, name: str, tool: dict[str, Any]) -> tuple[Listed, list[str]]:
    parameters, notes = schemas.safe(tool.get("inputSchema"))
    hints = tool.get("annotations") or {}
    repeatable = bool(hints.get("idempotentHint") or hints.get("readOnlyHint"))
    description = bounded(str(tool.get("description") or tool.get("title") or ""))
    return Listed(fitted(server.slug, name), name, description, parameters, repeatable), notes
