"""The tools of a caller, with everything between them and a model put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from uuid import UUID

from somaagent.agent.ports import Toolset
from somaagent.agent.toolsets import ValidatedToolset

from . import registry
from .answers import AnsweredToolset, Past, ResumedToolset
from .mcp.tools import mcp_tools
from .records import RecordedToolset
from .tool import Caller, Tool
from .toolsets import CatalogToolset, GuardedToolset, PolicyToolset, Progress, UnattendedToolset

NOTHING_PAST = Past()


async def tools_of(tenant_id: UUID) -> Mapping[str, Tool]:
    """All tools that the tenant has, by name: the built-in ones, and those of its MCP servers."""
    return {**await mcp_tools(tenant_id), **registry.built_in()}


async def tools_named(tenant_id: UUID, patterns: Iterable[str]) -> dict[str, Tool]:
    """Those that *patterns* name: a tool's name, or one with ``*`` for any characters."""
    wanted = list(patterns)
    ours = registry.built_in()
    # Nobody else is asked where nobody else is meant.
    tools = ours if ours.keys() >= set(wanted) else await tools_of(tenant_id)
    return {name: tool for name, tool in tools.items() if is_named(name, wanted)}


def is_named(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns is this tool's name, or fits it."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def toolset(
    tools: Mapping[str, Tool], caller: Caller, *, progress: Progress, past: Past = NOTHING_PAST
) -> Toolset:
    """The tools as a run may use them: validated, judged by the policy, approved, guarded and recorded.

    ``past``: what happened to calls of the step that is taken up again.
    """
    return RecordedToolset(_answered(tools, caller, progress, past), tools, caller, past)


def unattended_toolset(
    tools: Mapping[str, Tool], caller: Caller, *, progress: Progress, instead: str
) -> Toolset:
    """The tools for a run that cannot wait for anybody: a call that needs approval is refused.

    ``instead`` is a sentence for the model: where somebody could be asked.
    """
    asking = _answered(tools, caller, progress, NOTHING_PAST)
    return RecordedToolset(UnattendedToolset(asking, instead), tools, caller, NOTHING_PAST)


def _answered(tools: Mapping[str, Tool], caller: Caller, progress: Progress, past: Past) -> Toolset:
    catalog = GuardedToolset(CatalogToolset(tools, caller, progress), tools, caller)
    judged = ValidatedToolset(PolicyToolset(catalog, tools, caller, progress, past))
    resumed = ResumedToolset(judged, past, {name: tool.idempotent for name, tool in tools.items()})
    return AnsweredToolset(resumed, past)
