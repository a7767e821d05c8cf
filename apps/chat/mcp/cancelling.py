"""Which turn a client's request has begun, so that ``notifications/cancelled`` finds it on any gateway.

Until 2025-11-25 a client names the request that it gives up, by an id of its own choice, and closing a
connection says nothing (basic/utilities/cancellation). The id is unique within the client's session, whose id
is ours: so both together, and the user, are the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from apps.chat import turns
from somaagent import valkey
from somaagent.errors import Kind, SomaError
from somaagent.tenancy.actor import Actor

_KEEP_SECONDS = 24 * 3600
# A notification may overtake the request that it is about; the turn begins moments later, or never.
_EARLY_SECONDS = 60
_CANCELLED = b"cancelled"


@dataclass(frozen=True, slots=True)
class RequestOfSession:
    """A JSON-RPC request, by the client's session and the id that it gave to it."""

    session: str
    id: str

    def key(self, actor: Actor) -> str:
        return f"soma:mcp:{actor.user_id}:{self.session}:{self.id}"


async def begun(actor: Actor, request: RequestOfSession, turn_id: UUID) -> None:
    """Remember the turn of a request. One that its client has given up already is cancelled."""
    key = request.key(actor)
    before = await valkey.client().set(key, str(turn_id), ex=_KEEP_SECONDS, get=True)
    if before == _CANCELLED:
        await stop(actor, turn_id)


async def given_up(actor: Actor, request: RequestOfSession) -> None:
    """The client has given up its request: its turn is cancelled. What began no turn runs on."""
    key = request.key(actor)
    before = await valkey.client().set(key, _CANCELLED, ex=_EARLY_SECONDS, nx=True, get=True)
    if before is not None and before != _CANCELLED:
        await stop(actor, UUID(before.decode()))


async def stop(actor: Actor, turn_id: UUID) -> None:
    """Cancel a turn that its client has given up. One that is gone, with its session, needs nothing."""
    try:
        await turns.cancel(actor=actor, turn_id=turn_id)
    except SomaError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise
