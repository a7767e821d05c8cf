"""Responses that are not stored: an answer in the request, like a chat completion."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from apps.chat import completions, told
from apps.chat.completions import Begun
from apps.chat.standing import CredentialEnded
from somaagent.agent.events import AgentEvent, RunCompleted, TurnCompleted, TurnEvent, TurnFailed, TurnStarted
from somaagent.agent.messages import ModelMessage, ToolCall
from somaagent.errors import SomaError
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.scripts import perform

from . import services
from .asked import Asked, check_calls, check_lengths
from .events import Event, Narrator
from .ids import RESPONSE, name_of
from .shapes import Frame


async def begin(*, actor: Actor, asked: Asked) -> Begun:
    """The run, once the first of the answer is there. Closing its events stops the model."""
    check_lengths(asked)
    waiting: Sequence[ToolCall] = ()
    messages, summary = told.messages_of_items(asked.items), ""
    if asked.previous is not None:
        script = services.said_before(actor=actor, asked=asked)
        before, waiting = await perform(actor.tenant_id, script)
        messages, summary = [*(before.told or ())], before.summary
    check_calls(asked, waiting)
    if asked.instructions:
        messages.insert(0, ModelMessage("system", asked.instructions))
    wanted = completions.Asked(asked.agent, messages, asked.settings, asked.tools, summary)
    return await completions.begun(actor=actor, asked=wanted)


async def whole(run: Begun, asked: Asked) -> dict[str, Any]:
    """The response once it is complete. Raises what the run failed with."""
    narrator = _narrator(asked)
    last: list[Event] = []
    async with aclosing(run.events) as events:
        async for event in events:
            last = narrator.take(_turn_event(event))
    response: dict[str, Any] = last[-1]["response"]
    return response


async def narrated(run: Begun, asked: Asked) -> AsyncGenerator[Event | None, None]:
    """The events of the response, the last of which tells a failure too: the status is long sent."""
    narrator = _narrator(asked)
    for event in (*narrator.begin(), *narrator.take(TurnStarted(""))):
        yield event
    try:
        async with aclosing(run.events) as events:
            async for said in events:
                for event in narrator.take(_turn_event(said)):
                    yield event
    except CredentialEnded as error:
        yield narrator.broken_off(error)
    except SomaError as error:
        for event in narrator.take(TurnFailed.of(error, run.account.used)):
            yield event


def _narrator(asked: Asked) -> Narrator:
    answer = uuid7()
    return Narrator(Frame(name_of(RESPONSE, answer), int(time.time()), asked.shown), answer.hex)


def _turn_event(event: AgentEvent) -> TurnEvent:
    return TurnCompleted(event.text, event.usage) if isinstance(event, RunCompleted) else event
