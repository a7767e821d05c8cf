"""What a client of MCP may call: the tenant's agents as ``ask_<slug>``, then its tools by their own names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from apps.sessions import selectors as sessions
from apps.tools import toolbox
from apps.tools.tool import NAME, Tool
from somaagent.errors import invalid
from somaagent.tenancy.scope import in_tenant

if TYPE_CHECKING:
    from apps.sessions.models import Agent

PAGE_SIZE = 100
# A tool of this beginning could be taken for an agent: it is not offered.
ASK = "ask_"
SLUG = re.compile(r"[-a-zA-Z0-9_]{1,63}")
_CURSOR = re.compile(r"(agent|tool):([-a-zA-Z0-9_]{0,64})")


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what can be called, agents first, each kind by name; ``next`` is the cursor of what follows."""

    agents: Sequence[Agent]
    tools: Sequence[Tool]
    next: str | None


async def page(*, tenant_id: UUID, cursor: str | None) -> Page:
    """What follows the cursor, from the beginning without one. Raises INVALID for a cursor not ours."""
    kind, after = _read(cursor)
    agents: list[Agent] = []
    if kind == "agent":
        agents = await in_tenant(tenant_id, _agents, after=after)
        if len(agents) > PAGE_SIZE:
            agents = agents[:PAGE_SIZE]
            return Page(agents, [], f"agent:{agents[-1].slug}")
        after = ""
    tools = await toolbox.tools_of(tenant_id)
    names = sorted(name for name in tools if name > after and not name.startswith(ASK))
    room = PAGE_SIZE - len(agents)
    shown = names[:room]
    more = len(names) > room
    return Page(
        agents, [tools[name] for name in shown], f"tool:{shown[-1] if shown else ''}" if more else None
    )


async def tool_named(*, tenant_id: UUID, name: str) -> Tool | None:
    """The tool of that name. A name that none can have, and could be read as a pattern, is none's."""
    if name.startswith(ASK) or not NAME.fullmatch(name):
        return None
    return (await toolbox.tools_named(tenant_id, [name])).get(name)


async def agent_named(*, tenant_id: UUID, name: str) -> Agent | None:
    """The agent behind ``ask_<slug>``."""
    slug = name.removeprefix(ASK)
    if not name.startswith(ASK) or not SLUG.fullmatch(slug):
        return None
    return await in_tenant(tenant_id, _agent, slug=slug)


def _agents(*, after: str) -> list[Agent]:
    return list(sessions.agent_list().filter(slug__gt=after).order_by("slug")[: PAGE_SIZE + 1])


def _agent(*, slug: str) -> Agent | None:
    return sessions.agent_list().filter(slug=slug).first()


def _read(cursor: str | None) -> tuple[str, str]:
    if cursor is None:
        return "agent", ""
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise invalid("cursor", "This is no cursor of ours: use the “nextCursor” of the page before.")
    return found[1], found[2]
