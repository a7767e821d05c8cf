"""An agent asked by a client: a turn of the client's user, followed to its end or to a question."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from django.conf import settings

from apps.chat import approvals, selectors, turns
from apps.chat.models import TurnState
from apps.sessions import selectors as sessions
from somaagent.agent.events import (
    TextDelta,
    TurnAwaitingApproval,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
    decode_end,
)
from somaagent.agent.toolsets import ArgumentsSchema
from somaagent.errors import invalid
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.scope import in_tenant

from .answers import Answer

if TYPE_CHECKING:
    from apps.chat.models import Turn
    from apps.chat.taps import Record

ARGUMENTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "input": {"type": "string", "minLength": 1, "description": "What to ask or to tell the agent."},
        "session_id": {
            "type": "string",
            "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
            "description": "Goes on with the conversation that an earlier answer named. Left out: a new one.",
        },
    },
    "required": ["input"],
    "additionalProperties": False,
}
_STRINGS = ("turn_id", "session_id", "state", "answer", "answer_at", "expires_at", "error_code")
RESULT: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in _STRINGS},
        "approvals": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["turn_id", "session_id", "state"],
}
_FITTING = ArgumentsSchema(ARGUMENTS)
AWAITING = "awaiting_approval"
# Of a long text the end is told: progress is for somebody who waits.
MOST_TOLD = 4_000
_PAUSE_SECONDS = 0.5

# Told how far the turn is (a number that grows) and the text up to now.
Told = Callable[[int, str], Awaitable[None]]


async def begin(
    *, actor: Actor, agent: str, arguments: Mapping[str, Any], idempotency: Idempotency | None
) -> Turn:
    """Submit what is asked. Raises what ``turns.submit`` does, and INVALID for arguments that do not fit."""
    if fault := _FITTING.fault(orjson.dumps(dict(arguments)).decode()):
        raise invalid("arguments", fault)
    session_id = UUID(arguments["session_id"]) if "session_id" in arguments else None
    if session_id is not None:
        await in_tenant(actor.tenant_id, _expect, actor, agent, session_id)
    return await turns.submit(
        actor=actor, text=arguments["input"], session_id=session_id, agent=agent, idempotency=idempotency
    )


def _expect(actor: Actor, agent: str, session_id: UUID) -> None:
    """Raise where the session is another agent's."""
    owner = sessions.session_get(actor=actor, session_id=session_id).agent.slug
    if owner != agent:
        raise invalid("arguments.session_id", f"This conversation is with another agent: use ask_{owner}.")


async def follow(*, actor: Actor, turn: Turn, told: Told) -> Answer:
    """The turn's answer, or the reason why there is none, or what it asks before it goes on."""
    text = _Growing(told)
    async with aclosing(turns.follow_turn(actor=actor, turn=turn, after=0)) as records:
        async for record in records:
            # None: nothing happened for a while, and a wake-up may have been lost.
            if record is None or record.type == TurnAwaitingApproval.type:
                said = None if record is None else record.values()["expires_at"]
                if (waits := await _waits(actor, turn, said)) is not None:
                    return waits
                continue
            if (answer := await text.take(turn, record)) is not None:
                return answer
    raise AssertionError("a turn is followed to its final event")


class _Growing:
    """An answer's text as it grows, told twice a second."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._text = ""
        self._next = 0.0

    async def take(self, turn: Turn, record: Record) -> Answer | None:
        """What the turn came to, with its final event."""
        if record.final:
            return _ended(turn, record)
        if record.type == TurnStarted.type:
            self._text = ""  # another host begins the answer anew
        elif record.type == TextDelta.type:
            self._text = (self._text + orjson.loads(record.data)["text"])[-MOST_TOLD:]
            if time.monotonic() >= self._next:
                await self._told(record.sequence, self._text)
                self._next = time.monotonic() + _PAUSE_SECONDS
        return None


def _ended(turn: Turn, record: Record) -> Answer:
    event = decode_end(record.type, record.values())
    if isinstance(event, TurnCompleted):
        return Answer(event.text, "completed", _facts(turn, "completed", answer=event.text))
    if isinstance(event, TurnFailed):
        facts = _facts(turn, "failed", error_code=event.code)
        return Answer(event.message, "failed", facts, failed=True)
    return Answer("The turn was cancelled.", "cancelled", _facts(turn, "cancelled"), failed=True)


async def _waits(actor: Actor, turn: Turn, expires_at: str | None) -> Answer | None:
    """What to say of a turn that waits for approval now; None where it goes on, or has ended.

    ``expires_at``: it has just said so, until then. Its host says it a moment before it lets the turn go.
    """
    now = await in_tenant(actor.tenant_id, selectors.turn_get, actor=actor, turn_id=turn.id)
    if now.state != AWAITING and (expires_at is None or now.state != TurnState.RUNNING):
        return None
    asked = [call for call in await approvals.questions(actor=actor, turn_id=turn.id) if not call.answer]
    if not asked:
        return None
    where = f"{settings.PUBLIC_URL.rstrip('/')}/api/v1/turns/{turn.id}"
    wanted = [
        {
            "call_id": call.call_id,
            "tool": call.tool,
            "arguments": orjson.loads(call.edited_arguments or call.arguments),
            "risk": call.risk,
            "reason": call.reason,
        }
        for call in asked
    ]
    until = now.approvals_expire_at.isoformat() if now.approvals_expire_at else expires_at or ""
    facts = _facts(turn, AWAITING, answer_at=f"{where}/approvals", expires_at=until, approvals=wanted)
    names = ", ".join(call.tool for call in asked)
    text = (
        f"The agent waits for approval of {names}. Somebody who may approve answers in the conversation, or "
        f"by POST {where}/approvals; then the turn goes on, and GET {where} gives its answer."
    )
    return Answer(text, AWAITING, facts)


def _facts(turn: Turn, state: str, **more: Any) -> dict[str, Any]:
    return {"turn_id": str(turn.id), "session_id": str(turn.session_id), "state": state, **more}
