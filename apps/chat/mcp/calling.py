"""A tool called by a client itself: no agent, no session, no turn. Judged, guarded and recorded as ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from apps.tools import toolbox
from apps.tools.tool import Caller, Tool
from apps.tools.toolsets import Progress
from somaagent.agent.messages import ToolCall
from somaagent.agent.ports import Action, Outcome
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.fields import uuid7

from .answers import Answer

_INSTEAD = "Only a turn can wait for approval: ask an agent that has this tool."


async def call(*, actor: Actor, tool: Tool, arguments: Mapping[str, Any]) -> Answer:
    """Run the tool, or say why not. Cancelled, it stops, and is on record as cut short."""
    caller = Caller(tenant_id=actor.tenant_id, user_id=actor.user_id, role=actor.role)
    toolset = toolbox.unattended_toolset({tool.name: tool}, caller, progress=Progress(), instead=_INSTEAD)
    wanted = ToolCall(f"mcp-{uuid7()}", tool.name, orjson.dumps(dict(arguments)).decode())
    verdict = await toolset.judge(wanted)
    if verdict.action is not Action.RUN:
        return Answer(verdict.reason, verdict.outcome.value, failed=True)
    result = await toolset.call(verdict.call)
    return Answer(result.text, result.outcome.value, failed=result.outcome is not Outcome.OK)
