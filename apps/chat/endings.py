"""How a turn can end, and what a model is told when one begins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from somaagent import valkey
from somaagent.agent import tokens
from somaagent.agent.messages import NOTHING_USED, ModelMessage, Usage
from somaagent.agent.prices import priced
from somaagent.agent.step_events import StepCompleted
from somaagent.errors import Kind, SomaError
from somaagent.tenancy.scope import DATABASE_AWAY

from .models import TurnState
from .reach import prices_of
from .spending import Spent
from .work import Work

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """The state to leave a turn in (``queued``: for another host), and the error of a failed one."""

    state: TurnState
    error: SomaError | None = None


@dataclass(slots=True)
class Unended:
    """A step whose model was asked and has not come to its end: what it wrote until now."""

    step: int
    written: list[str] = field(default_factory=list)


def cut_short(
    work: Work, step: Unended | None, summaries: Usage, before: Sequence[StepCompleted]
) -> Spent | None:
    """What a turn's end charges for a step that came to none; None where nothing is known to be used.

    ``summaries`` were made for it, and counted. ``before``: the steps that ended since the turn was taken.
    """
    if step is None:
        return None
    conversation = work.conversation
    spent = guessed(
        step, [*messages_of(work), *said_in(before)], conversation.profiles[0], conversation.ratio
    )
    if spent is not None:
        return replace(spent, usage=summaries + spent.usage)
    return Spent(step.step, summaries, conversation.profiles[0].slug) if summaries != NOTHING_USED else None


def guessed(
    step: Unended, messages: Sequence[ModelMessage], profile: ModelProfile, ratio: float = 1.0
) -> Spent | None:
    """What a step used whose model was stopped in mid-answer; None where it wrote nothing.

    No server says what it used then, and it is paid for all the same: it is guessed, at the prices of the
    agent's own profile. ``ratio`` as in ``Conversation``.
    """
    if not step.written:
        return None
    read = math.ceil(tokens.guess(messages) * ratio)
    said = tokens.guess([ModelMessage("assistant", "".join(step.written))])
    used = priced(Usage(input_tokens=read, output_tokens=said), prices_of(profile))
    return Spent(step.step, used, profile.slug, estimated=True)


def unexpected(error: Exception) -> Ending:
    """The ending after an error that is nobody's answer: a server that stays away, or a bug."""
    if isinstance(error, (*valkey.ERRORS, *DATABASE_AWAY)):
        logger.error("turn.store_unavailable", exc_info=error)
        sentence = "A server that keeps the conversation is away. Try again in a moment."
        return Ending(TurnState.FAILED, SomaError(Kind.UNAVAILABLE, "store_unavailable", sentence))
    logger.error("turn.crashed", exc_info=error)
    sentence = "The server failed at this turn; its log says why, under the turn's id."
    return Ending(TurnState.FAILED, SomaError(Kind.UPSTREAM, "internal", sentence))


def messages_of(work: Work) -> list[ModelMessage]:
    """Instructions, what was said, and the steps of this turn that are done."""
    conversation = work.conversation
    messages = [ModelMessage("system", conversation.instructions)] if conversation.instructions else []
    if work.request and work.request.instructions:
        messages.append(ModelMessage("system", work.request.instructions))
    if conversation.told is not None:
        messages += conversation.told
    else:
        for role, text in conversation.messages:
            messages.append(ModelMessage("user" if role == "user" else "assistant", text))
    return [*messages, *said_in(work.done)]


def said_in(steps: Iterable[StepCompleted]) -> list[ModelMessage]:
    """What the model said in the steps, and what their tools gave it."""
    return [message for step in steps for message in (step.message, *step.results)]
