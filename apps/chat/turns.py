"""What callers do with turns: submit, retry, cancel, follow. One call each for views, pages and consumers."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from uuid import UUID

import orjson
from django.db import IntegrityError

from somaagent.agent.events import TurnEnded
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.scope import in_database, in_tenant
from somaagent.tenancy.scripts import Script, perform

from . import handover, host, selectors, services, standing, stream
from .ended import last_event
from .keeping import Keeping
from .models import OPEN_STATES, OnBusy, Turn, TurnState
from .owner import owner
from .services import Ahead, Place, Submitted
from .taps import Record
from .webhooks import services as webhooks
from .work import Work

TRIMMED = "history.trimmed"


async def submit(
    *,
    actor: Actor,
    text: str,
    session_id: UUID | None = None,
    agent: str | None = None,
    place: Place | None = None,
    on_busy: OnBusy = OnBusy.REJECT,
    idempotency: Idempotency | None = None,
    background: bool = False,
) -> Turn:
    """Keep a user's message and begin to answer it: in this process, or (``background``) in a worker.

    Where the session is busy and ``on_busy`` lets it wait, it is answered after the turn that is running.
    """
    submit_it = functools.partial(
        services.turn_submit,
        actor=actor,
        text=text,
        session_id=session_id,
        agent=agent,
        place=place,
        on_busy=on_busy,
        idempotency=idempotency,
        host=None if background else owner(),
    )
    return await begin(actor=actor, script=lambda ahead: submit_it(ahead=ahead))


async def retry(
    *,
    actor: Actor,
    turn_id: UUID,
    on_busy: OnBusy = OnBusy.REJECT,
    idempotency: Idempotency | None = None,
) -> Turn:
    """Answer the same message again; ``on_busy`` as in ``submit``."""
    retry_it = functools.partial(
        services.turn_retry,
        actor=actor,
        turn_id=turn_id,
        on_busy=on_busy,
        idempotency=idempotency,
        host=owner(),
    )
    return await begin(actor=actor, script=lambda ahead: retry_it(ahead=ahead))


async def begin(*, actor: Actor, script: Callable[[Ahead], Script[Submitted]]) -> Turn:
    """What a script of ``services`` submits, and begun where its time has come; where the same request came
    twice at once, the turn of the first.
    """
    try:
        submitted, begun = await _submitted(actor, script)
    except IntegrityError:
        submitted, begun = await _submitted(actor, script)
    turn = submitted.turn
    if submitted.work is not None and not begun:
        host.start_work(submitted.work)
    elif submitted.starts and submitted.work is None:
        await in_database(handover.to_workers, turn.id, turn.tenant_id)
    for stopped in submitted.stopped:
        await tell_stopped(stopped)
    return await _with_answer(turn)


async def _submitted(actor: Actor, script: Callable[[Ahead], Script[Submitted]]) -> tuple[Submitted, bool]:
    """What the script submits, and whether it is begun."""
    begun: list[Keeping] = []

    def ahead(work: Work) -> None:
        begun.append(Keeping())
        host.start_work(work, begun[0])

    kept = False
    try:
        submitted = await perform(actor.tenant_id, script(ahead), proof=actor.proof)
        kept = True
    finally:
        for keeping in begun:
            keeping.settle(kept=kept)
    return submitted, bool(begun)


async def _with_answer(turn: Turn) -> Turn:
    """The turn of a script, with the message that it may have ended with."""
    if turn.output_message_id is not None:
        return await in_tenant(turn.tenant_id, selectors.turn_read, turn_id=turn.id)
    return turn


async def cancel(*, actor: Actor, turn_id: UUID) -> Turn:
    """Ask a turn to stop. It is ``cancelled`` once its host says so; one that nobody took is at once."""
    cancelled = await perform(actor.tenant_id, services.turn_cancel(actor=actor, turn_id=turn_id))
    turn = cancelled.turn
    await tell_stopped(turn)
    if cancelled.following is not None:
        host.start(cancelled.following, actor.tenant_id)
    if cancelled.deliveries:
        await in_database(webhooks.wake_workers, cancelled.deliveries, actor.tenant_id)
    return await _with_answer(turn)


async def tell_stopped(turn: Turn) -> None:
    """Tell its host, or where it had none, those who follow it."""
    if turn.state == TurnState.RUNNING:
        await stream.call_host(turn.id, turn.lease_owner)
    elif turn.state == TurnState.CANCELLED:
        await stream.conclude(turn.id, last_event(turn), number=turn.last_event)


async def follow(*, actor: Actor, turn_id: UUID, after: int) -> AsyncGenerator[Record | None, None]:
    """The turn's events behind the cursor, to its end. Raises ``not_found`` before the first.

    None says that nothing happened for a while. Where events are no longer kept, ``history.trimmed``
    says so, and the final event comes from the turn's row.
    """
    return follow_turn(actor=actor, turn=await _turn_of(actor, turn_id), after=after)


async def followed(*, actor: Actor, turn_id: UUID, after: int) -> AsyncGenerator[list[Record], None]:
    """``follow``, for a caller as of ``follow_together``. Raises ``not_found`` before the first."""
    return follow_together(actor=actor, turn=await _turn_of(actor, turn_id), after=after)


async def _turn_of(actor: Actor, turn_id: UUID) -> Turn:
    return await in_tenant(actor.tenant_id, selectors.turn_get, actor=actor, turn_id=turn_id)


async def follow_turn(*, actor: Actor, turn: Turn, after: int) -> AsyncGenerator[Record | None, None]:
    """``follow``, for a caller who has just read the turn. Raises ``CredentialEnded`` when theirs has."""
    async with aclosing(follow_together(actor=actor, turn=turn, after=after)) as come:
        del turn
        async for records in come:
            for record in records or (None,):
                yield record


async def follow_together(*, actor: Actor, turn: Turn, after: int) -> AsyncGenerator[list[Record], None]:
    """``follow_turn``, for a caller who writes events that are there together at once: they come as one
    list, which is empty where nothing happened for a while.
    """
    turn_id = turn.id
    with standing.watched(actor, functools.partial(stream.nudge, turn_id)) as credential:
        over = None if stream.is_tapped(turn_id) else await _over(turn, after)
        del turn  # thousands may follow, for hours
        if over is not None:
            credential.check()
            if over:
                yield over
            return
        async with aclosing(stream.follow(turn_id, after)) as come:
            async for records in come:
                credential.check()
                if not records and (ended := await _ended_unsaid(actor, turn_id, after)):
                    yield _rebuilt(ended, after)
                    return
                if records and records[0].sequence > after + 1:
                    first = records[0].sequence
                    yield [Record(first - 1, TRIMMED, orjson.dumps({"first": first})), *records]
                else:
                    yield records
                after = records[-1].sequence if records else after
                del records


async def _over(turn: Turn, after: int) -> list[Record] | None:
    """What is left to tell of a turn that has told its end, or whose events are gone; None: follow it.

    One whose row has ended and whose events are there is about to tell its final one.
    """
    last = await stream.last(turn.id)
    if turn.state not in OPEN_STATES and (last is None or (last.final and last.sequence < after)):
        return _rebuilt(turn, after)
    return [] if last is not None and last.final and last.sequence == after else None


# A turn that has ended, and the number of its final event, 0 where its stream does not tell that.
_Look = tuple[Turn, int] | None
_looks: dict[tuple[asyncio.AbstractEventLoop, UUID], asyncio.Task[_Look]] = {}


async def _ended_unsaid(actor: Actor, turn_id: UUID, after: int) -> Turn | None:
    """The turn, if it ended and its stream does not tell those who have come so far. Those who ask at once
    are told by one look.
    """
    key = (asyncio.get_running_loop(), turn_id)
    look = _looks.get(key)
    if look is None:
        look = _looks[key] = asyncio.create_task(_look(actor, turn_id), name=f"look at {turn_id}")
        look.add_done_callback(lambda _: _looks.pop(key, None))
    turn, final = await asyncio.shield(look) or (None, 0)
    return turn if final <= after else None


async def _look(actor: Actor, turn_id: UUID) -> _Look:
    """See ``_ended_unsaid``: Valkey lost the stream, where another began with small numbers then, or a host
    died between the row's end and the event's.
    """
    now = await in_tenant(actor.tenant_id, selectors.turn_get, actor=actor, turn_id=turn_id)
    if now.state in OPEN_STATES:
        return None
    last = await stream.last(turn_id)
    return now, last.sequence if last is not None and last.final else 0


def _rebuilt(turn: Turn, after: int) -> list[Record]:
    final = max(turn.last_event, after + 2)
    trimmed = orjson.dumps({"first": final})
    return [Record(final - 1, TRIMMED, trimmed), _record(final, last_event(turn))]


def _record(sequence: int, event: TurnEnded) -> Record:
    return Record(sequence, event.type, orjson.dumps(event.data()))
