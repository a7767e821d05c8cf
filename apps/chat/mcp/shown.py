"""Agents and tools as the protocol shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mcp import types

from apps.tools.tool import Label, Risk, Tool

from . import asking
from .answers import Answer
from .catalogue import ASK, Page

if TYPE_CHECKING:
    from apps.sessions.models import Agent

# Asks clients to repeat an argument in a header, which proxies could go by. Nothing here does.
_HEADER = "x-mcp-header"


def listed(page: Page) -> types.ListToolsResult:
    tools = [*map(_agent, page.agents), *map(_tool, page.tools)]
    return types.ListToolsResult(tools=tools, next_cursor=page.next)


def result(answer: Answer) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(text=answer.text)],
        structured_content=answer.structured,
        is_error=answer.failed,
    )


def _agent(agent: Agent) -> types.Tool:
    description = (
        f"Asks the agent “{agent.name}”. It answers in a conversation, which session_id goes on with; it may "
        "use tools of its own. Where one of its calls needs approval, the result says so."
    )
    return types.Tool(
        name=f"{ASK}{agent.slug}",
        title=agent.name,
        description=description,
        input_schema=asking.ARGUMENTS,
        output_schema=asking.RESULT,
        annotations=types.ToolAnnotations(
            title=agent.name, read_only_hint=False, idempotent_hint=False, open_world_hint=True
        ),
    )


def _tool(tool: Tool) -> types.Tool:
    """What a tool declares of itself, as hints: the policy decides on the call, whatever these say."""
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=_without_headers(tool.parameters),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.risk is Risk.LOW,
            destructive_hint=tool.risk is Risk.HIGH,
            idempotent_hint=tool.idempotent,
            open_world_hint=Label.UNTRUSTED in tool.labels,
        ),
    )


def _without_headers(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {key: _without_headers(value) for key, value in schema.items() if key != _HEADER}
    if isinstance(schema, list | tuple):
        return [_without_headers(item) for item in schema]
    return schema
