"""What an operator sees of a tenant's tools, all at once. Read inside the tenant's scope."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from django.db.models import Count, Q

from somaagent import valkey
from somaagent.agent.ports import Outcome
from somaagent.background import run_coroutine
from somaagent.resilience.operators import breaker_states
from somaagent.tenancy.fields import first_id

from . import registry
from .mcp import state
from .mcp.servers import Server, servers_of
from .mcp.state import UNKNOWN, Known
from .models import ToolCallRecord
from .policy import judging
from .policy.judging import InForce
from .tool import Tool
from .toolbox import tools_of
from .toolsets import breaker_name

FAILED = [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CUT_SHORT]
NOT_KNOWN = "not known"

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls that came to their end, and those among them that ran and failed, or did not run at all."""

    ended: int = 0
    failed: int = 0
    not_run: int = 0


@dataclass(frozen=True, slots=True)
class ToolState:
    """``breaker``: its own, or its MCP server's; empty where there is none."""

    tool: Tool
    calls: Calls
    breaker: str


@dataclass(frozen=True, slots=True)
class ServerState:
    server: Server
    known: Known
    breaker: str


@dataclass(frozen=True, slots=True)
class Overview:
    """``problem``: what is not known, and why. Without Valkey the tools of MCP servers are not known."""

    tools: Sequence[ToolState]
    servers: Sequence[ServerState]
    policy: InForce
    problem: str = ""


def overview(*, tenant_id: UUID, since: datetime) -> Overview:
    """Tools by name, servers by slug, calls ``since`` then. Waits a little for lists that are not known."""
    counts = calls_by_tool(since=since)
    servers, policy, tools, problem = run_coroutine(_asked(tenant_id))
    knowns, breakers = [UNKNOWN for _ in servers], dict[str, str]()
    if not problem:
        try:
            knowns = state.known_blocking(servers)
            breakers = _breakers(tenant_id, tools, servers)
        except valkey.ERRORS as error:
            problem = _without_valkey(error)
    by_source = {server.source: server for server in servers}
    return Overview(
        tools=[
            ToolState(tool, counts.get(name, Calls()), _breaker(tenant_id, tool, by_source, breakers))
            for name, tool in sorted(tools.items())
        ],
        servers=[
            ServerState(server, known, breakers.get(server.breaker, NOT_KNOWN))
            for server, known in zip(servers, knowns, strict=True)
        ],
        policy=policy,
        problem=problem,
    )


def calls_by_tool(*, since: datetime) -> dict[str, Calls]:
    found = ToolCallRecord.objects.filter(id__gte=first_id(since)).order_by().values("tool")
    counted = found.annotate(
        ended=Count("id"),
        failed=Count("id", filter=Q(outcome__in=FAILED)),
        ran=Count("id", filter=Q(outcome__in=[Outcome.OK, *FAILED])),
    )
    return {row["tool"]: Calls(row["ended"], row["failed"], row["ended"] - row["ran"]) for row in counted}


async def _asked(tenant_id: UUID) -> tuple[list[Server], InForce, Mapping[str, Tool], str]:
    policy = asyncio.create_task(judging.in_force())
    servers = await servers_of(tenant_id)
    try:
        return servers, await policy, await tools_of(tenant_id), ""
    except valkey.ERRORS as error:
        return servers, await policy, registry.built_in(), _without_valkey(error)


def _breakers(tenant_id: UUID, tools: Mapping[str, Tool], servers: Sequence[Server]) -> dict[str, str]:
    names = [breaker_name(tenant_id, tool) for tool in tools.values() if tool.breaker_failures]
    states = breaker_states([*names, *(server.breaker for server in servers)])
    return {name: breaker.value for name, breaker in states.items()}


def _breaker(tenant_id: UUID, tool: Tool, servers: Mapping[str, Server], breakers: Mapping[str, str]) -> str:
    if tool.breaker_failures:
        return breakers.get(breaker_name(tenant_id, tool), NOT_KNOWN)
    server = servers.get(tool.source)
    return breakers.get(server.breaker, NOT_KNOWN) if server else ""


def _without_valkey(error: Exception) -> str:
    logger.warning("tools.not_known", reason=str(error))
    return (
        "Valkey does not answer. It keeps the lists of MCP servers and the breakers: without it no tool "
        "runs, and those of MCP servers are not shown."
    )
