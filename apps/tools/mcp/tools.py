"""The tools that a tenant's MCP servers offer."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog

from apps.tools.tool import Arguments, Caller, Label, Tool
from somaagent.errors import Kind, SomaError
from somaagent.observability import metrics

from . import failures, lists, state
from .results import Result
from .servers import Server, servers_of
from .sessions import pool
from .state import Known, Listed

# How long the first use of a server may wait for its list, all new servers together.
FIRST_SECONDS = 3.0
# A server whose list was never read and that failed so lately is not waited for.
RETRY_SECONDS = 60.0
# Beyond the server's own time, so that its failure comes first, with its reason.
_MARGIN_SECONDS = 2.0
_MOST_REASON = 2_000

logger = structlog.get_logger(__name__)


async def mcp_tools(tenant_id: UUID) -> Mapping[str, Tool]:
    """By name, the tools of all enabled servers as their last lists tell them.

    A known list costs one question to Valkey; one that is old is read again in the background. A list that is
    not known is waited for, for a short while. A server that fails has no tools here, or those of its last
    list, and takes nothing from the others. Raises ``valkey.ERRORS`` and ``DATABASE_AWAY``.
    """
    servers = await servers_of(tenant_id)
    if not servers:
        return {}
    found = await state.known(servers)
    pairs = list(zip(servers, found, strict=True))
    if missing := [server for server, known in pairs if await _is_awaited(server, known)]:
        await _first(missing)
        found = await state.known(servers)
    return {
        listed.name: _tool(server, listed, known)
        for server, known in zip(servers, found, strict=True)
        for listed in known.tools or ()
    }


async def _is_awaited(server: Server, known: Known) -> bool:
    """Begins what may be done in the background, and says whether this list has to be waited for."""
    now = time.time()
    failed_lately = known.failed_at is not None and now - known.failed_at < RETRY_SECONDS
    if known.tools is None:
        return not failed_lately
    if not failed_lately and (known.read_at is None or now - known.read_at > lists.FRESH_SECONDS):
        await lists.refresh(server)
    return False


async def _first(servers: Sequence[Server]) -> None:
    """Waits for their lists. One that somebody has waited for already is not waited for so long again."""
    begun = [lists.begin(server) for server in servers]
    left = FIRST_SECONDS - (time.monotonic() - max(reading.since for reading in begun))
    _, late = await asyncio.wait([reading.task for reading in begun], timeout=max(left, 0.0))
    if late:
        logger.warning("mcp.lists_late", count=len(late))


def _tool(server: Server, listed: Listed, known: Known) -> Tool:
    return Tool(
        name=listed.name,
        description=listed.description,
        parameters=listed.parameters,
        run=functools.partial(_run, server, listed.raw, known.failed_at is not None),
        idempotent=server.trusts_annotations and listed.repeatable,
        needs_approval=server.needs_approval,
        risk=server.risk,
        labels=frozenset({Label.UNTRUSTED}),
        seconds=server.call_seconds + _MARGIN_SECONDS,
        most_characters=server.most_characters,
        source=server.source,
    )


async def _run(server: Server, name: str, had_failed: bool, caller: Caller, arguments: Arguments) -> str:
    if caller.tenant_id != server.tenant_id:
        raise ValueError("A tool is run for the tenant whose it is.")
    outcome = "answered"
    try:
        async with lists.guarded(server):
            result = await _called(server, name, arguments)
    except SomaError as error:
        outcome = error.code
        if error.code in failures.BROKEN:
            await state.keep_failure(server, error.code, error.message)
        raise
    finally:
        metrics.MCP_CALLS.labels(outcome=outcome).inc()
    if had_failed:
        await state.keep_recovery(server)
    if result.is_error:
        text = result.text[:_MOST_REASON] or "it does not say why"
        raise SomaError(Kind.UPSTREAM, "mcp_tool_failed", f"The tool failed: {text}")
    return result.text


async def _called(server: Server, name: str, arguments: Arguments) -> Result:
    """One call. It is made again only where the server ran nothing, because it had forgotten our session."""

    async def once() -> Result:
        return await pool().ask(server, lambda session: session.call(name, arguments), server.call_seconds)

    try:
        return await once()
    except SomaError as error:
        if error.code != "mcp_session_gone":
            raise
    pool().drop(server)
    return await once()
