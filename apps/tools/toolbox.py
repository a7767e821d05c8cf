"""The tools of a caller, with everything between them and a model put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from uuid import UUID

from somaagent.agent.ports import Toolset
from somaagent.agent.toolsets import ValidatedToolset

from . import registry
from .answers import AnsweredToolset, Past, ResumedToolset
from .records import RecordedToolset
from .tool import Caller, Tool
from .toolsets import CatalogToolset, GuardedToolset, PolicyToolset, Progress, UnaskingToolset

NOTHING_PAST = Past()


async def tools_of(tenant_id: UUID) -> Mapping[str, Tool]:
    """All tools that the tenant has, by name: the built-in ones."""
    del tenant_id
    return registry.built_in()


async def tools_named(tenant_id: UUID, patterns: Iterable[str]) -> dict[str, Tool]:
    """Those that *patterns* name: a tool's name, or one with ``*`` for any characters."""
    wanted = list(patterns)
    tools = await tools_of(tenant_id)
    return {
        name: tool for name, tool in tools.items() if any(fnmatchcase(name, pattern) for pattern in wanted)
    }


def toolset(
    tools: Mapping[str, Tool], caller: Caller, *, progress: Progress, past: Past = NOTHING_PAST
) -> Toolset:
    """The tools as a run may use them: validated, judged by the policy, approved, guarded and recorded.

    ``past``: what happened to calls of the step that is taken up again.
    """
    catalog = GuardedToolset(CatalogToolset(tools, caller, progress), tools, caller)
    judged = ValidatedToolset(PolicyToolset(catalog, tools, caller, progress, past))
    resumed = ResumedToolset(judged, past, {name: tool.idempotent for name, tool in tools.items()})
    return RecordedToolset(AnsweredToolset(resumed, past), tools, caller, past)


def direct_toolset(tools: Mapping[str, Tool], caller: Caller) -> Toolset:
    """The tools for a call that no turn makes: as in a run, but nobody can be asked for approval.

    A call that is cancelled while it runs is on record as cut short.
    """
    progress = Progress()
    catalog = GuardedToolset(CatalogToolset(tools, caller, progress), tools, caller)
    judged = ValidatedToolset(PolicyToolset(catalog, tools, caller, progress, NOTHING_PAST))
    return RecordedToolset(UnaskingToolset(judged), tools, caller, NOTHING_PAST)
