"""How a turn can end, and what a model is told when one begins."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from somaagent import valkey
from somaagent.agent.messages import ModelMessage
from somaagent.errors import Kind, SomaError
from somaagent.tenancy.scope import DATABASE_AWAY

from .models import TurnState
from .work import Work

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """The state to leave a turn in (``queued``: for another host), and the error of a failed one."""

    state: TurnState
    error: SomaError | None = None


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
    for step in work.done:
        messages += [step.message, *step.results]
    return messages
