"""The operators' page of tools: all that the tenant has, who may use them, and how they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.sessions import selectors as sessions
from apps.tools.overview import Overview, ToolState, overview
from apps.tools.toolbox import is_named

HOURS = 24
TOOL_COLUMNS = (
    "Tool", "Source", "Risk", "Idempotent", "Approval", "Labels", "Limits", "Agents",
    f"Calls, last {HOURS} hours", "Breaker",
)  # fmt: skip
SERVER_COLUMNS = ("Server", "Slug", "State", "Tools", "Breaker", "What is wrong")


@dataclass(frozen=True, slots=True)
class ToolRow:
    """A tool, and the agents that may use it."""

    state: ToolState
    agents: list[Any]

    @property
    def labels(self) -> list[str]:
        return sorted(self.state.tool.labels)


@dataclass(frozen=True, slots=True)
class ToolsPage:
    """``missing``: by agent, what it names that no tool is called now."""

    rows: list[ToolRow]
    overview: Overview
    missing: list[tuple[Any, list[str]]]
    tool_columns: tuple[str, ...] = TOOL_COLUMNS
    server_columns: tuple[str, ...] = SERVER_COLUMNS


def tools_page(*, tenant_id: UUID) -> ToolsPage:
    """Read inside the tenant's scope."""
    found = overview(tenant_id=tenant_id, since=timezone.now() - timedelta(hours=HOURS))
    agents = list(sessions.agent_list())
    names = [each.tool.name for each in found.tools]
    rows = [
        ToolRow(each, [agent for agent in agents if is_named(each.tool.name, agent.tools)])
        for each in found.tools
    ]
    missing = [(agent, unmatched(agent.tools, names)) for agent in agents]
    return ToolsPage(rows, found, [(agent, patterns) for agent, patterns in missing if patterns])


def unmatched(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """The patterns that none of the names fits."""
    known = list(names)
    return [pattern for pattern in patterns if not any(is_named(name, [pattern]) for name in known)]


def by_source(tools: Mapping[str, Any]) -> list[str]:
    """Known names for a form: the built-in ones one by one, those of each MCP server by their pattern."""
    ours = sorted(name for name, tool in tools.items() if not tool.source.startswith("mcp:"))
    slugs = {tool.source.removeprefix("mcp:") for tool in tools.values() if tool.source.startswith("mcp:")}
    return ours + [f"{slug}__*" for slug in sorted(slugs)]
