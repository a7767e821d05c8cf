"""What a policy is asked, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from apps.tools.tool import Arguments, Caller, Tool
from somaagent.agent.messages import NOTHING_USED, Usage


class Effect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    REQUIRE_APPROVAL = "require_approval"


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody's consent to a call: who, in which role, and whether they changed its arguments."""

    user_id: UUID
    role: str
    edited: bool = False

    def data(self) -> dict[str, Any]:
        return {"by": str(self.user_id), "role": self.role, "edited": self.edited}


@dataclass(frozen=True, slots=True)
class Question:
    """A call to be judged.

    ``labels``: of the data that the turn's earlier results brought in. ``calls`` and ``spent``: how many
    calls of tools its turn has made before, and what its earlier steps used. ``approval``: when it is judged
    again.
    """

    caller: Caller
    tool: Tool
    arguments: Arguments
    labels: frozenset[str] = frozenset()
    calls: int = 0
    spent: Usage = NOTHING_USED
    approval: Approval | None = None

    def data(self) -> dict[str, Any]:
        """``input`` of the policies, as JSON values."""
        caller, tool = self.caller, self.tool
        return {
            "tenant": str(caller.tenant_id),
            "user": {"id": str(caller.user_id), "role": caller.role},
            "agent": caller.agent,
            "tool": {
                "name": tool.name,
                "source": tool.source,
                "risk": tool.risk.value,
                "idempotent": tool.idempotent,
                "needs_approval": tool.needs_approval,
                "labels": sorted(tool.labels),
            },
            "arguments": dict(self.arguments),
            "labels": sorted(self.labels),
            "budget": {"calls": self.calls, **self.spent.data()},
            "approval": self.approval.data() if self.approval else None,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says of a call, and why. ``policy`` is the digest of the files that said it; empty where
    none could be asked.
    """

    id: UUID
    effect: Effect
    reason: str
    policy: str
