"""What managers are told of everybody's turns. Nothing of it is what somebody said or was answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import Field

from apps.chat.oversight import StepInShort, calls_in_short, steps_in_short, stuck_because
from apps.chat.schemas import TurnError, UsageOut
from somaagent.money import decimal_text
from somaagent.web.text import Moment, Slug

State = Literal["queued", "running", "awaiting_approval", "completed", "failed", "cancelled"]


class TurnFilter(Schema):
    """Turns that have all that is given."""

    state: State | None = None
    agent: Slug | None = Field(None, description="The agent's slug.")
    user_id: UUID | None = Field(None, description="Whose turns.")
    session_id: UUID | None = None
    since: Moment | None = Field(None, description="Submitted from this moment on.")
    until: Moment | None = Field(None, description="Submitted before this moment.")
    stuck: bool = Field(
        False,
        description="True: only turns that nobody works at: their lease ran out, or no host took them.",
    )


class Whose(Schema):
    id: UUID
    username: str


class Lease(Schema):
    host: str = Field(description="The process that has the turn.")
    expires_at: datetime = Field(
        description="It keeps moving this on; a moment that is past means that it is gone."
    )


class TurnOverseen(Schema):
    id: UUID
    state: State
    stuck: str | None = Field(
        description="Why nobody works at it, in a sentence; null where it is not stuck."
    )
    user: Whose
    agent: str
    session_id: UUID
    api_key_id: UUID | None = Field(description="The key that submitted it, if one.")
    attempt: Annotated[int, Field(ge=0)] = Field(description="How many hosts have taken it so far.")
    hosts_lost: Annotated[int, Field(ge=0)] = Field(description="How many of them fell silent.")
    lease: Lease | None
    usage: UsageOut
    error: TurnError | None
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None
    cancel_requested_at: datetime | None
    approvals_expire_at: datetime | None
    finished_at: datetime | None


class StepOut(Schema):
    number: int
    created_at: datetime
    profile: str = Field(description="The model profile that answered.")
    finish_reason: str
    tools: list[str] = Field(description="The tools that its model asked for.")
    usage: UsageOut


class CallOut(Schema):
    call_id: str
    step: int
    tool: str
    source: str
    state: Literal["awaiting", "running", "done"]
    outcome: str
    answer: str = Field(description="What somebody said who was asked; empty: nobody was, or not yet.")
    asked_at: datetime | None
    expires_at: datetime | None


class TurnOverseenWhole(TurnOverseen):
    steps: list[StepOut] = Field(description="The steps that are done, oldest first, in short.")
    calls: list[CallOut] = Field(description="Its calls of tools, oldest first, in short.")


def turn_told(turn: Any) -> dict[str, Any]:
    """The fields of ``TurnOverseen``."""
    lease = {"host": turn.lease_owner, "expires_at": turn.lease_expires_at}
    failed = {"code": turn.error_code, "message": turn.error_message, "retryable": turn.error_retryable}
    as_they_are = (
        "id", "state", "session_id", "api_key_id", "attempt", "hosts_lost", "created_at", "queued_at",
        "started_at", "cancel_requested_at", "approvals_expire_at", "finished_at",
    )  # fmt: skip
    return {
        **{name: getattr(turn, name) for name in as_they_are},
        "stuck": stuck_because(turn) or None,
        "user": {"id": turn.user_id, "username": turn.user.username},
        "agent": turn.session.agent.slug,
        "lease": lease if turn.lease_expires_at is not None else None,
        "usage": _usage(turn),
        "error": failed if turn.error_code else None,
    }


def turn_told_whole(turn: Any) -> dict[str, Any]:
    """The fields of ``TurnOverseenWhole``."""
    names = list(CallOut.model_fields)
    calls = [{name: getattr(call, name) for name in names} for call in calls_in_short(turn_id=turn.id)]
    steps = [_step(step) for step in steps_in_short(turn_id=turn.id)]
    return {**turn_told(turn), "steps": steps, "calls": calls}


def _step(step: StepInShort) -> dict[str, Any]:
    return {
        "number": step.number,
        "created_at": step.created_at,
        "profile": step.profile,
        "finish_reason": step.finish_reason,
        "tools": step.tools,
        "usage": _usage(step.usage),
    }


def _usage(used: Any) -> dict[str, Any]:
    tokens = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
    return {**{name: getattr(used, name) for name in tokens}, "cost": decimal_text(used.cost)}
