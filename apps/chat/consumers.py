"""WebSocket at ``/api/v1/ws``: the same turns and events as over HTTP, many on one connection.

The client sends ``turn.submit``, ``turn.cancel``, ``turn.follow`` and ``turn.approve``; the server answers
with ``turn.accepted``, ``turn.approvals``, ``event`` and ``problem``. A message may carry a ``ref``, which
its answers repeat.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, aclosing
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
import structlog
from channels.generic.websocket import AsyncWebsocketConsumer
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from somaagent import valkey
from somaagent.errors import Kind, SomaError, invalid
from somaagent.observability import metrics
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.models import Scope
from somaagent.tenancy.rates import admit
from somaagent.web.authentication import actor_of_scope
from somaagent.web.bodies import Body
from somaagent.web.idempotency import idempotency_of
from somaagent.web.text import Slug, Text

from . import approvals, sse, standing, turns
from .approval_bodies import AnswersIn, ApprovalOut
from .models import OnBusy, Turn
from .services import Place
from .standing import CredentialEnded, Standing

logger = structlog.get_logger(__name__)

# RFC 6455, section 7.4.2: codes from 4000 on are the application's own.
CLOSE_UNAUTHENTICATED = 4401
MOST_FOLLOWED = 64

Ref = Annotated[str | None, StringConstraints(max_length=100)]


class _Message(Body):
    ref: Ref = None


class Submit(_Message):
    type: Literal["turn.submit"]
    input: Annotated[Text, Field(min_length=1)]
    session_id: UUID | None = None
    agent: Slug | None = None
    after: UUID | None = None
    replaces: UUID | None = None
    on_busy: OnBusy = OnBusy.REJECT
    idempotency_key: Annotated[str | None, StringConstraints(min_length=1, max_length=200)] = None

    def idempotency(self) -> Idempotency | None:
        return idempotency_of(self.idempotency_key, self.model_copy(update={"ref": None}))


class Cancel(_Message):
    type: Literal["turn.cancel"]
    turn_id: UUID


class Follow(_Message):
    type: Literal["turn.follow"]
    turn_id: UUID
    after: Annotated[int, Field(ge=0, le=sse.LARGEST_CURSOR)] = 0


class Approve(_Message, AnswersIn):
    type: Literal["turn.approve"]
    turn_id: UUID


MESSAGE: TypeAdapter[Submit | Cancel | Follow | Approve] = TypeAdapter(
    Annotated[Submit | Cancel | Follow | Approve, Field(discriminator="type")]
)


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One connection of one actor."""

    actor: Actor
    followed: dict[UUID, asyncio.Task[None]]
    credential: Standing

    async def connect(self) -> None:
        self.followed = {}
        self._open = ExitStack()
        actor = await actor_of_scope(self.scope)
        if actor is None:
            # Accepted first: a browser is told the code of a close, not that of a refused handshake.
            await self.accept()
            await self.close(code=CLOSE_UNAUTHENTICATED, reason="Sign in, or send an API key.")
            return
        self.actor = actor
        structlog.contextvars.bind_contextvars(
            request_id=str(uuid7()), tenant_id=str(actor.tenant_id), user_id=str(actor.user_id)
        )
        await self.accept()
        self.credential = self._open.enter_context(standing.watched(actor, self._ended))

    def _ended(self) -> None:
        self._closing = asyncio.create_task(self._close_ended(), name="close websocket")

    async def _close_ended(self) -> None:
        await self.close(code=CLOSE_UNAUTHENTICATED, reason="This credential has ended.")

    async def disconnect(self, code: int) -> None:
        self._open.close()
        tasks = list(self.followed.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        ref = None
        try:
            try:
                message = MESSAGE.validate_python(_parsed(text_data if text_data is not None else bytes_data))
                ref = message.ref
            finally:
                await admit(self.actor)  # also of what nobody can read
            await self._handle(message)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "message"
            await self._refuse(invalid(field, first["msg"]), ref)
        except SomaError as error:
            await self._refuse(error, ref)
        except valkey.ERRORS:
            logger.exception("websocket.events_unavailable")
            await self._refuse(_unavailable(), ref)

    async def _handle(self, message: Submit | Cancel | Follow | Approve) -> None:
        self.credential.check()
        if isinstance(message, Follow):
            self.actor.require(Scope.READ)
            await self._follow(message.turn_id, message.after)
            return
        self.actor.require(Scope.WRITE)
        if isinstance(message, Cancel):
            await self._accepted(await turns.cancel(actor=self.actor, turn_id=message.turn_id), message.ref)
            return
        if isinstance(message, Approve):
            await self._approve(message)
            return
        turn = await turns.submit(
            actor=self.actor,
            text=message.input,
            session_id=message.session_id,
            agent=message.agent,
            place=Place(message.after, message.replaces),
            on_busy=message.on_busy,
            idempotency=message.idempotency(),
        )
        await self._accepted(turn, message.ref)
        await self._follow(turn.id, 0)

    async def _approve(self, message: Approve) -> None:
        """Answer questions; the events of what comes of it go to those who follow the turn."""
        given = [one.given() for one in message.calls]
        kept = await approvals.answer(actor=self.actor, turn_id=message.turn_id, given=given)
        items = [ApprovalOut.from_orm(call).model_dump(mode="json") for call in kept]
        await self._send(
            {
                "type": "turn.approvals",
                "ref": message.ref,
                "turn_id": str(message.turn_id),
                "items": items,
            }
        )

    async def _follow(self, turn_id: UUID, after: int) -> None:
        if len(self.followed) >= MOST_FOLLOWED:
            raise SomaError(
                Kind.RATE_LIMITED,
                "too_many_streams",
                f"A connection follows at most {MOST_FOLLOWED} turns at once.",
            )
        events = await turns.follow(actor=self.actor, turn_id=turn_id, after=after)
        if earlier := self.followed.pop(turn_id, None):
            earlier.cancel()
        task = asyncio.create_task(self._relay(turn_id, events), name=f"relay {turn_id}")
        self.followed[turn_id] = task
        task.add_done_callback(lambda done: self._relayed(turn_id, done))

    async def _relay(self, turn_id: UUID, events: Any) -> None:
        metrics.STREAMS_OPEN.inc()
        try:
            async with aclosing(events) as records:
                async for record in records:
                    if record is not None:
                        await self._send(
                            {
                                "type": "event",
                                "turn_id": str(turn_id),
                                "id": record.sequence,
                                "event": record.type,
                                "data": orjson.Fragment(record.data),
                            }
                        )
        except CredentialEnded:
            logger.info("stream.credential_ended")  # the connection is being closed, with all that it follows
        except valkey.ERRORS:
            logger.exception("websocket.events_unavailable", turn_id=str(turn_id))
            await self._refuse(_unavailable(), None)
        finally:
            metrics.STREAMS_OPEN.dec()

    def _relayed(self, turn_id: UUID, task: asyncio.Task[None]) -> None:
        if self.followed.get(turn_id) is task:
            del self.followed[turn_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("websocket.relay_failed", turn_id=str(turn_id), exc_info=error)

    async def _accepted(self, turn: Turn, ref: str | None) -> None:
        await self._send(
            {
                "type": "turn.accepted",
                "ref": ref,
                "turn_id": str(turn.id),
                "session_id": str(turn.session_id),
                "state": turn.state,
            }
        )

    async def _refuse(self, error: SomaError, ref: str | None) -> None:
        await self._send(
            {"type": "problem", "ref": ref, "code": error.code, "detail": error.message, "field": error.field}
        )

    async def _send(self, message: dict[str, Any]) -> None:
        await self.send(text_data=orjson.dumps(message).decode())


def _parsed(data: str | bytes | None) -> Any:
    try:
        return orjson.loads(data or b"")
    except orjson.JSONDecodeError as error:
        raise invalid("message", f"This is no JSON: {error}.", code="malformed") from error


def _unavailable() -> SomaError:
    return SomaError(
        Kind.UNAVAILABLE,
        "events_unavailable",
        "Valkey, which carries the events, is away. Try again in a moment.",
    )
