"""``/api/v1/admin/tool-calls``, ``mcp-servers``, ``policy``: a tenant's tools, for those who manage it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Router

from apps.tools import selectors
from apps.tools.mcp import overseeing
from apps.tools.policy import judging
from somaagent.problems import PROBLEMS, Problem
from somaagent.tenancy.audit.entries import who
from somaagent.tenancy.members import require_manager
from somaagent.tenancy.scope import in_tenant
from somaagent.web.pagination import Page, PageQuery, page_of
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from .paging import page_told
from .tools_schemas import (
    McpServerOut,
    McpServerWhole,
    PolicyOut,
    ToolCallFilter,
    ToolCallOut,
    ToolCallWhole,
    call_told_whole,
    calls_told,
    policy_told,
    server_told,
    server_told_whole,
)

router = Router(tags=["admin: tools"])
router.add_decorator(in_tenant_of_actor)
AWAY: dict[int, type[Problem]] = {503: Problem}


@router.get(
    "/tool-calls", response={200: Page[ToolCallOut], **PROBLEMS, **AWAY}, summary="Calls of tools on record"
)
def list_tool_calls(request: HttpRequest, page: Query[PageQuery], wanted: Query[ToolCallFilter]) -> Any:
    """For owners and admins: everybody's calls that ended, newest first, and how they were judged."""
    require_manager(actor_of(request))
    return page_told(selectors.call_list(**wanted.model_dump()), page, calls_told)


@router.get(
    "/tool-calls/{uuid:record_id}", response={200: ToolCallWhole, **PROBLEMS, **AWAY}, summary="One of them"
)
def read_tool_call(request: HttpRequest, record_id: UUID) -> Any:
    """For owners and admins: with its arguments, as they are on record, and all decisions on it."""
    require_manager(actor_of(request))
    return call_told_whole(selectors.call_get(call_id=record_id))


@router.get("/mcp-servers", response={200: Page[McpServerOut], **PROBLEMS, **AWAY}, summary="MCP servers")
def list_mcp_servers(request: HttpRequest, page: Query[PageQuery]) -> Any:
    """For owners and admins: the organisation's servers and how they are, newest first; the operator's
    programs come behind the last of them.
    """
    actor = actor_of(request)
    require_manager(actor)
    found = page_of(overseeing.server_rows(), page)
    programs = [] if found["next"] else overseeing.programs(tenant_id=actor.tenant_id)
    seen = overseeing.overseen(found["items"], programs)  # type: ignore[arg-type]  # a page's items are rows
    return {**found, "items": [server_told(each) for each in seen]}


@router.get(
    "/mcp-servers/{server_id}", response={200: McpServerWhole, **PROBLEMS, **AWAY}, summary="One of them"
)
def read_mcp_server(request: HttpRequest, server_id: str) -> Any:
    """For owners and admins: with its tools as it told them last, and what was not taken of them."""
    actor = actor_of(request)
    require_manager(actor)
    return server_told_whole(overseeing.server_overseen(tenant_id=actor.tenant_id, server_id=server_id))


@router.post(
    "/mcp-servers/{server_id}/check",
    response={200: McpServerWhole, **PROBLEMS, **AWAY},
    summary="Have its list of tools read now",
)
async def check_mcp_server(request: HttpRequest, server_id: str) -> Any:
    """For owners and admins: closes its breaker and asks it. `error` says what that ran into.

    Takes as long as the server does, three times its `connect_seconds` at most.
    """
    actor = actor_of(request)
    require_manager(actor)
    seen = await overseeing.check(tenant_id=actor.tenant_id, server_id=server_id, by=who(actor))
    return await in_tenant(actor.tenant_id, server_told_whole, seen)


@router.get("/policy", response={200: PolicyOut, **PROBLEMS, **AWAY}, summary="The policy in force")
async def read_policy(request: HttpRequest) -> Any:
    """For owners and admins: which policy judges calls of tools, and whether it answers."""
    actor = actor_of(request)
    require_manager(actor)
    return await in_tenant(actor.tenant_id, policy_told, await judging.in_force())
