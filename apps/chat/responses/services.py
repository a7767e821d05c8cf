"""Writes of responses: submit (a script, see ``somaagent.tenancy.scripts``), delete."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from apps.chat import completions, history, services, statements, told
from apps.chat.models import OnBusy, Turn
from apps.chat.services import Place, Submitted
from apps.chat.work import Conversation
from apps.sessions import selectors as session_reads
from apps.sessions import services as session_services
from apps.sessions import statements as sessions
from somaagent.agent.messages import ToolCall
from somaagent.errors import Kind, SomaError, invalid
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.scripts import Script, read

from . import selectors
from .asked import Asked, check_calls
from .ids import CONVERSATION, RESPONSE, id_of, missing


def response_submit(
    *, actor: Actor, asked: Asked, idempotency: Idempotency | None = None, host: str | None = None
) -> Script[Submitted]:
    """Keep the input and the turn that answers it: in a new session, after a response, or in a conversation.

    After a response it waits for what runs in the session; a busy conversation refuses it.
    """
    if existing := (yield from services.made_before(actor, idempotency)):
        return Submitted(existing)
    session_id, place, waiting = yield from _followed(actor, asked)
    check_calls(asked, waiting)
    if session_id is None:
        ((*rows,),) = yield [sessions.agent_named(asked.agent)]
        if not rows:
            raise completions.model_missing(asked.agent)
    return (
        yield from services.turn_submit(
            actor=actor,
            text=asked.text(),
            session_id=session_id,
            agent=asked.agent,
            place=place,
            on_busy=OnBusy.QUEUE if asked.previous else OnBusy.REJECT,
            idempotency=idempotency,
            host=None if asked.background else host,
            request=asked.request(),
        )
    )


def _followed(actor: Actor, asked: Asked) -> Script[tuple[UUID | None, Place, Sequence[ToolCall]]]:
    """The session that the input belongs to, where in it, and the calls that wait there for outputs."""
    if asked.previous is not None:
        turn, answer = yield from before(actor=actor, name=asked.previous)
        yield from _expect_agent(turn.session_id, asked.agent)
        return turn.session_id, Place(after=answer), (yield from told.calls_waiting(answer))
    if asked.conversation is None:
        return None, Place(), ()
    session_id = id_of(CONVERSATION, asked.conversation, field="body.conversation")
    (rows,) = yield [sessions.session_taken(session_id=session_id, user_id=actor.user_id)]
    if not rows:
        raise missing(CONVERSATION, asked.conversation, field="body.conversation")
    end = sessions.session_of(rows).active_message_id
    if end is None:
        yield from _entrust(session_id, asked.agent)
        return session_id, Place(), ()
    yield from _expect_agent(session_id, asked.agent)
    return session_id, Place(), (yield from told.calls_waiting(end))


def before(*, actor: Actor, name: str) -> Script[tuple[Turn, UUID]]:
    """The response that another one follows, and its answer. Raises where none can follow."""
    field = "body.previous_response_id"
    turn_id = id_of(RESPONSE, name, field=field)
    (rows,) = yield [statements.turn_of_user(user_id=actor.user_id, turn_id=turn_id)]
    turn = read(Turn, rows[0]) if rows else None
    if turn is None or turn.request is None:
        raise missing(RESPONSE, name, field=field)
    if turn.finished_at is None:
        sentence = "The previous response is still being written: wait for its end, or cancel it."
        raise SomaError(Kind.CONFLICT, "response_in_progress", sentence, field=field, retry_after=1)
    if turn.output_message_id is None:
        raise invalid(field, "The previous response gave no answer that another one could follow.")
    return turn, turn.output_message_id


def said_before(*, actor: Actor, asked: Asked) -> Script[tuple[Conversation, Sequence[ToolCall]]]:
    """What is told of the response that an unstored one follows, and the calls that wait at its end."""
    turn, answer = yield from before(actor=actor, name=asked.previous or "")
    agents, newest, ratio = yield [
        sessions.session_agent(turn.session_id),
        sessions.history(session_id=turn.session_id, end=answer, question=turn.id),
        statements.last_ratio(turn.session_id),
    ]
    agent = sessions.agent_of(agents, None)
    conversation = yield from history.conversation(
        session_id=turn.session_id,
        agent=agent,
        profiles=(yield from sessions.profiles(agent)),
        newest=newest,
        ratio=ratio,
        question=turn.id,  # no message: nothing in the session is answered
        asked=[("user", asked.text())],
        request=asked.request(),
    )
    return conversation, (yield from told.calls_waiting(answer))


def _expect_agent(session_id: UUID, slug: str) -> Script[None]:
    (rows,) = yield [sessions.session_agent(session_id)]
    agent = sessions.agent_of(rows, None)
    if agent.slug != slug:
        sentence = f"The agent {agent.slug!r} leads this conversation: name it as the model."
        raise invalid("body.model", sentence, code="model_differs")


def _entrust(session_id: UUID, slug: str) -> Script[None]:
    (rows,) = yield [sessions.agent_named(slug)]
    if not rows:
        raise completions.model_missing(slug)
    agent = sessions.agent_of(rows, slug)
    yield [sessions.session_entrusted(session_id=session_id, agent_id=agent.id)]


def response_delete(*, actor: Actor, turn_id: UUID) -> None:
    """Delete a response with its input: what was said is gone, from the session too.

    A session that its request began goes with its last turn. Where the conversation went on, the places of
    the two messages stay, empty. A response that is being written is stopped.
    """
    session_id = selectors.response_turn(actor=actor, turn_id=turn_id).session_id
    # First the session, then its turns, as everybody who needs both; the turn may have ended meanwhile.
    session_reads.session_get(actor=actor, session_id=session_id, locked=True)
    turn = selectors.response_turn(actor=actor, turn_id=turn_id)
    others = selectors.other_turns(turn)
    if not others.exists() and selectors.frame_of(turn).shown["conversation"] is None:
        session_services.session_delete(actor=actor, session_id=session_id)
        return
    shared = others.filter(input_message_id=turn.input_message_id).exists()
    messages = [turn.output_message_id, None if shared else turn.input_message_id]
    turn.delete()
    for message_id in filter(None, messages):
        session_services.message_forget(session_id=session_id, message_id=message_id)
