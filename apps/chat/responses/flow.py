"""What callers do with responses: create, wait, follow, cancel. One call each for the views."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from apps.chat import turns
from apps.chat.models import OPEN_STATES, Turn, TurnState
from apps.chat.owner import owner
from apps.chat.standing import CredentialEnded
from somaagent.agent.events import (
    TextDelta,
    TurnAwaitingApproval,
    TurnEnded,
    TurnEvent,
    TurnStarted,
    decode,
    decode_end,
)
from somaagent.agent.failures import is_retryable
from somaagent.errors import Kind, SomaError, invalid
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.scope import in_tenant

from . import selectors, services
from .asked import Asked, check_lengths
from .events import RESTARTED, Event, Narrator, error_event

CANCEL_SECONDS = 5.0
# What went wrong, by the code that a turn failed with, where it was not the model's server.
KINDS = {
    "budget_exceeded": Kind.OVER_BUDGET,
    "price_missing": Kind.CONFLICT,
    "step_limit": Kind.TOO_LARGE,
    "output_limit": Kind.TOO_LARGE,
}


async def create(*, actor: Actor, asked: Asked, idempotency: Idempotency | None) -> Turn:
    """Keep what is asked, and begin to answer it: in this process, or in the background in a worker."""
    check_lengths(asked)
    script = functools.partial(
        services.response_submit, actor=actor, asked=asked, idempotency=idempotency, host=owner()
    )
    return await turns.begin(actor=actor, script=lambda _: script())


async def read(*, actor: Actor, turn_id: UUID) -> dict[str, Any]:
    """The response as it stands."""
    kept = await in_tenant(actor.tenant_id, selectors.response_get, actor=actor, turn_id=turn_id)
    return kept.shown()


async def finished(*, actor: Actor, turn: Turn) -> dict[str, Any]:
    """The response once it is over, or as it stands when it waits for approval, which may take hours.

    Raises what its turn failed with: clients act on the status.
    """
    await _end_of(actor, turn, or_asking=True)
    kept = await in_tenant(actor.tenant_id, selectors.response_get, actor=actor, turn_id=turn.id)
    if kept.turn.state == TurnState.FAILED:
        raise _failure_of(kept.turn)
    return kept.shown()


async def _end_of(actor: Actor, turn: Turn, *, or_asking: bool = False) -> None:
    async with aclosing(turns.follow_turn(actor=actor, turn=turn, after=0)) as records:
        async for record in records:
            if or_asking and record is not None and record.type == TurnAwaitingApproval.type:
                return


def _failure_of(turn: Turn) -> SomaError:
    error = SomaError(KINDS.get(turn.error_code, Kind.UPSTREAM), turn.error_code, turn.error_message)
    if turn.error_retryable and not is_retryable(error):
        error.kind = Kind.UNAVAILABLE
    return error


async def cancel(*, actor: Actor, turn_id: UUID) -> dict[str, Any]:
    """Stop a response. It is ``cancelled`` once its host says so, which is waited for a little."""
    turn = await in_tenant(actor.tenant_id, selectors.response_turn, actor=actor, turn_id=turn_id)
    if turn.state in (TurnState.COMPLETED, TurnState.FAILED):
        raise invalid(
            "path.response_id", f"A {turn.state} response cannot be cancelled.", code="response_ended"
        )
    if turn.state in OPEN_STATES:
        turn = await turns.cancel(actor=actor, turn_id=turn_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                await _end_of(actor, turn)
    return await read(actor=actor, turn_id=turn_id)


async def followed(
    *, actor: Actor, turn_id: UUID, starting_after: int | None
) -> AsyncGenerator[Event | None, None]:
    """``follow``, by id. Raises as for a response that does not exist before the first event."""
    turn = await in_tenant(actor.tenant_id, selectors.response_turn, actor=actor, turn_id=turn_id)
    return follow(actor=actor, turn=turn, starting_after=starting_after)


async def follow(
    *, actor: Actor, turn: Turn, starting_after: int | None = None
) -> AsyncGenerator[Event | None, None]:
    """The events behind a number, as they come, to the last. None says that nothing happened for a while."""
    seen = -1 if starting_after is None else starting_after
    try:
        async with aclosing(_all_events(actor, turn, starting_after)) as events:
            async for event in events:
                if event is None:
                    yield None
                elif event["sequence_number"] > seen:
                    seen = event["sequence_number"]
                    yield event
                    if event.get("code") == RESTARTED:
                        return
    except CredentialEnded as error:
        yield error_event(error, seen + 1)


async def _all_events(
    actor: Actor, turn: Turn, starting_after: int | None
) -> AsyncGenerator[Event | None, None]:
    """All events from the first; where they are no longer kept, what can be told in their place."""
    narrator = Narrator(selectors.frame_of(turn), turn.id.hex)
    for event in narrator.begin():
        yield event
    trimmed, told = False, starting_after is not None
    async with aclosing(turns.follow_turn(actor=actor, turn=turn, after=0)) as records:
        async for record in records:
            if record is None:
                yield None
                continue
            trimmed = trimmed or record.type == turns.TRIMMED
            if not trimmed:
                for event in narrator.take(decode(record.type, record.values())):
                    yield event
                told = True
            elif record.final:
                last = decode_end(record.type, record.values())
                for event in await _rest(actor, turn, narrator, last, told, starting_after):
                    yield event


async def _rest(
    actor: Actor, turn: Turn, narrator: Narrator, last: TurnEnded, told: bool, after: int | None
) -> list[Event]:
    """What is told where the events are gone: all of the response, or its end to who has seen a part."""
    kept = await in_tenant(actor.tenant_id, selectors.response_get, actor=actor, turn_id=turn.id)
    if told:
        return narrator.ended_before(last, kept.output, after=after)
    retold: list[TurnEvent] = [TurnStarted(str(turn.id))]
    for step in kept.steps:
        retold += (TextDelta(step.text), step) if step.text else (step,)
    if kept.output.open_text:
        retold.append(TextDelta(kept.output.open_text))
    return [event for fact in (*retold, last) for event in narrator.take(fact)]
