"""Reads on responses and conversations. All run inside the tenant's scope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from apps.chat import selectors as chat
from apps.chat import told
from apps.chat.models import Turn, TurnState
from apps.chat.requests import request_of
from apps.chat.told import Said
from apps.sessions import selectors as sessions
from apps.sessions import statements
from somaagent.agent.messages import Usage
from somaagent.agent.step_events import StepCompleted
from somaagent.errors import SomaError, invalid
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.scripts import Row, Script, performed

from .ids import CONVERSATION, RESPONSE, input_id, missing, name_of
from .output import Output, items_of, message_item, output_of
from .shapes import Failure, Frame

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from apps.sessions.models import Session

MOST_ITEMS = 100


@dataclass(frozen=True, slots=True)
class Kept:
    """A response as the rows have it."""

    turn: Turn
    frame: Frame
    steps: Sequence[StepCompleted]
    output: Output

    @property
    def usage(self) -> Usage:
        return self.turn.usage

    def shown(self) -> dict[str, Any]:
        turn = self.turn
        if turn.state == TurnState.QUEUED:
            return self.frame.response("queued")
        # What waits for approval is not over: it is answered on the page or under /api/v1.
        if turn.state in (TurnState.RUNNING, TurnState.AWAITING_APPROVAL):
            return self.frame.response("in_progress", self.output)
        failure = Failure(turn.error_code, turn.error_message) if turn.error_code else None
        return self.frame.ended(turn.state, self.output, self.usage, failure)


def response_turn(*, actor: Actor, turn_id: UUID) -> Turn:
    """The turn of a response of the actor's."""
    turn = chat.turns_of(actor).filter(id=turn_id, request__isnull=False).first()
    if turn is None:
        raise missing(RESPONSE, name_of(RESPONSE, turn_id))
    return turn


def other_turns(turn: Turn) -> QuerySet[Turn]:
    """The other turns of its session."""
    return Turn.objects.filter(session_id=turn.session_id).exclude(id=turn.id)


def response_get(*, actor: Actor, turn_id: UUID) -> Kept:
    turn = response_turn(actor=actor, turn_id=turn_id)
    steps = [StepCompleted.from_data(step.data) for step in turn.steps.order_by("number")]
    text = turn.output_message.text if turn.output_message else ""
    return Kept(turn, frame_of(turn), steps, output_of(turn.id.hex, steps, text))


def frame_of(turn: Turn) -> Frame:
    request = request_of(turn.request)
    if request is None:
        raise missing(RESPONSE, name_of(RESPONSE, turn.id))
    return Frame(name_of(RESPONSE, turn.id), int(turn.created_at.timestamp()), request.shown)


def input_items(*, actor: Actor, turn_id: UUID) -> list[dict[str, Any]]:
    """A response's own input, first to last."""
    turn = response_turn(actor=actor, turn_id=turn_id)
    request = request_of(turn.request)
    return _inputs(turn.id.hex, request.items if request else ())


def _inputs(owner: str, items: Sequence[told.Item]) -> list[dict[str, Any]]:
    return [{"id": input_id(owner, n, item["type"]), **item} for n, item in enumerate(items)]


def conversation_get(*, actor: Actor, session_id: UUID) -> Session:
    try:
        return sessions.session_get(actor=actor, session_id=session_id)
    except SomaError as error:
        raise missing(CONVERSATION, name_of(CONVERSATION, session_id)) from error


def conversation_items(*, actor: Actor, session_id: UUID) -> list[dict[str, Any]]:
    """What was said on a conversation's active branch, first to last."""
    session = conversation_get(actor=actor, session_id=session_id)
    if session.active_message_id is None:
        return []
    (rows,) = performed(_branch(session_id, session.active_message_id))
    said = performed(told.filled([Said(message_id, role, text) for message_id, role, text, _ in rows]))
    whole = {message_id for message_id, _, _, complete in rows if complete}
    return [item for one in said for item in _items_said(one, complete=one.id in whole)]


def _branch(session_id: UUID, end: UUID) -> Script[list[list[Row]]]:
    return (yield [statements.branch(session_id=session_id, end=end)])


def _items_said(said: Said, *, complete: bool) -> list[dict[str, Any]]:
    if said.items is not None:
        return _inputs(said.id.hex, said.items)
    items = [item for step in said.steps for item in items_of(said.id.hex, step)]
    if not said.rest:
        return items
    item_id = f"msg_{said.id.hex}"
    if said.role == "user":
        content = [{"type": "input_text", "text": said.rest}]
        facts = {"type": "message", "role": "user", "status": "completed", "content": content}
        return [{"id": item_id, **facts}]
    return [*items, message_item(item_id, said.rest, "completed" if complete else "incomplete")]


def part_of(items: Sequence[dict[str, Any]], *, order: str, after: str | None, limit: int) -> dict[str, Any]:
    """One page, as their clients turn pages: ``after`` is the id of the last item of the page before."""
    ordered = list(items) if order == "asc" else list(items)[::-1]
    if after is not None:
        place = next((n for n, item in enumerate(ordered) if item["id"] == after), None)
        if place is None:
            sentence = "There is no such item in this list: use the last_id of the page before."
            raise invalid("query.after", sentence)
        ordered = ordered[place + 1 :]
    page = ordered[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(ordered) > len(page),
    }
