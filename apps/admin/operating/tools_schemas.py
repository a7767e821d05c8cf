"""What managers are told of calls of tools, of MCP servers and of the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import Field

from apps.tools import selectors
from apps.tools.mcp.overseeing import Overseen, token_of
from apps.tools.policy.judging import InForce
from somaagent.web.text import Moment, Text

Effect = Literal["allow", "deny", "require_approval"]
Outcome = Literal["ok", "failed", "timed_out", "refused", "denied", "expired", "cancelled", "cut_short"]
HOURS = 24


class ToolCallFilter(Schema):
    """Calls that have all that is given."""

    tool: Text | None = Field(None, max_length=64)
    outcome: Outcome | None = None
    decision: Effect | None = Field(None, description="What the policy's last decision on it was.")
    user_id: UUID | None = Field(None, description="On whose behalf.")
    turn_id: UUID | None = None
    since: Moment | None = Field(None, description="Ended from this moment on.")
    until: Moment | None = Field(None, description="Ended before this moment.")


class DecisionOut(Schema):
    id: UUID
    created_at: datetime
    effect: Effect
    reason: str
    policy: str = Field(description="The digest of the policy; empty where it gave no answer, which denies.")


class ToolCallOut(Schema):
    id: UUID
    created_at: datetime = Field(description="When it came to its end.")
    user_id: UUID
    agent: str
    session_id: UUID | None
    turn_id: UUID | None
    call_id: str
    tool: str
    source: str
    outcome: Outcome
    reason: str = Field(description="Why it did not give a result.")
    decision: DecisionOut | None = Field(
        description="The policy's last decision; null: it never came before it."
    )
    answer: str = Field(description="What somebody said who was asked; empty: nobody was.")
    answered_by: UUID | None
    edited: bool
    started_at: datetime | None
    seconds: float | None
    result_characters: int
    result_digest: str = Field(
        description="SHA-256 of the result; of the result itself nothing is kept here."
    )


class ToolCallWhole(ToolCallOut):
    arguments: Any = Field(description="As they are on record: secrets are masked.")
    decisions: list[DecisionOut] = Field(description="All decisions on it, oldest first.")


class ErrorOut(Schema):
    code: str
    message: str


class McpServerOut(Schema):
    id: str = Field(description="Of a program that the operator declared: `stdio:` and its slug.")
    slug: str
    name: str
    kind: Literal["http", "program"]
    enabled: bool
    url: str | None
    authentication: str | None
    needs_approval: bool
    risk: str
    state: str = Field(description="`well`, `not asked yet`, `disabled`, or the code of its last failure.")
    error: ErrorOut | None = Field(description="Why it failed last, if nothing has succeeded since.")
    failed_at: datetime | None
    read_at: datetime | None = Field(description="When its list of tools was read last.")
    tools: int | None = Field(description="How many of its tools are taken; null: not known.")
    breaker: str


class McpTool(Schema):
    name: str = Field(description="As agents name it.")
    raw: str = Field(description="As its server names it.")
    description: str
    repeatable: bool


class TokenOut(Schema):
    expires_at: datetime | None
    failed_at: datetime | None
    error: str


class McpServerWhole(McpServerOut):
    listed: list[McpTool] = Field(description="Its tools as it told them last.")
    remarks: list[str] = Field(description="What of its list was not taken, and why.")
    token: TokenOut | None = Field(description="Of a server that wants OAuth: how its token is.")


class FailedDecision(Schema):
    at: datetime
    tool: str
    reason: str


class PolicyFailures(Schema):
    hours: Annotated[int, Field(ge=1)]
    denied: Annotated[int, Field(ge=0)] = Field(
        description="Calls denied in these hours because it gave no answer."
    )
    last: FailedDecision | None


class PolicyOut(Schema):
    answers: bool = Field(description="False: it gives no answer, so every call is denied.")
    problem: str | None = Field(description="Why it gives none.")
    engine: Literal["regopy", "opa"]
    source: Literal["files", "opa_server"]
    digest: str | None = Field(description="Of its files, or the revision of an OPA server's bundles.")
    loaded_at: datetime | None = Field(
        description="When this process of the gateway read its files; null of a server, or where it has none."
    )
    outdated: bool = Field(
        description="Its files have changed since: processes that start now judge by others."
    )
    failures: PolicyFailures


def calls_told(calls: Sequence[Any]) -> list[dict[str, Any]]:
    """The fields of ``ToolCallOut``."""
    decisions = selectors.decisions_by_id(call.decision_id for call in calls)
    return [_call(call, decisions) for call in calls]


def call_told_whole(call: Any) -> dict[str, Any]:
    """The fields of ``ToolCallWhole``."""
    made = list(selectors.decisions_on(call))
    told = _call(call, {decision.id: decision for decision in made})
    return {**told, "arguments": call.arguments, "decisions": [_decision(each) for each in made]}


def _call(call: Any, decisions: Mapping[UUID, Any]) -> dict[str, Any]:
    names = [name for name in ToolCallOut.model_fields if name != "decision"]
    decision = decisions.get(call.decision_id)
    told = {name: getattr(call, name) for name in names}
    return {**told, "decision": _decision(decision) if decision is not None else None}


def _decision(decision: Any) -> dict[str, Any]:
    return {name: getattr(decision, name) for name in DecisionOut.model_fields}


def server_told(seen: Overseen) -> dict[str, Any]:
    """The fields of ``McpServerOut``."""
    server, row, known = seen.server, seen.row, seen.known
    code, message = (
        (seen.failure.code, seen.failure.message) if seen.failure is not None else (known.code, known.error)
    )
    return {
        "id": server.id,
        "slug": server.slug,
        "name": server.name,
        "kind": "program" if row is None else "http",
        "enabled": seen.is_enabled,
        "url": row.url if row is not None else None,
        "authentication": row.authentication if row is not None else None,
        "needs_approval": server.needs_approval,
        "risk": server.risk.value,
        "state": (code or known.label) if seen.is_enabled else "disabled",
        "error": {"code": code, "message": message} if code else None,
        "failed_at": _moment(known.failed_at),
        "read_at": _moment(known.read_at),
        "tools": None if known.tools is None else len(known.tools),
        "breaker": seen.breaker,
    }


def server_told_whole(seen: Overseen) -> dict[str, Any]:
    """The fields of ``McpServerWhole``. Asks the database for the state of its token."""
    token = token_of(seen.row)
    fields = TokenOut.model_fields
    listed = [{name: getattr(tool, name) for name in McpTool.model_fields} for tool in seen.known.tools or ()]
    return {
        **server_told(seen),
        "listed": listed,
        "remarks": list(seen.known.remarks),
        "token": {name: getattr(token, name) for name in fields} if token is not None else None,
    }


def policy_told(found: InForce) -> dict[str, Any]:
    """The fields of ``PolicyOut``. Where its files or its server are is the platform's, and not told here."""
    failed = selectors.decisions_failed(hours=HOURS)
    last = failed.first()
    last_told = (
        {"at": last.created_at, "tool": last.tool, "reason": last.reason} if last is not None else None
    )
    return {
        "answers": bool(found.policy),
        "problem": found.reason or None,
        "engine": found.engine,
        "source": "opa_server" if found.engine == "opa" else "files",
        "digest": found.policy or None,
        "loaded_at": found.loaded_at,
        "outdated": found.is_outdated,
        "failures": {"hours": HOURS, "denied": failed.count(), "last": last_told},
    }


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
