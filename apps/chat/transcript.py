"""A session as the page shows it: what was said, and how each turn went. Read inside the tenant's scope."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, cast
from uuid import UUID

from django.db.models import Q

from apps.sessions import selectors as sessions
from somaagent.tenancy.actor import Actor
from somaagent.web.pagination import PageQuery, page_of

from . import selectors
from .models import OPEN_STATES, Turn, TurnState

if TYPE_CHECKING:
    from apps.sessions.models import Message, Session

MESSAGES_AT_ONCE = 40
SESSIONS_AT_ONCE = 40


@dataclass(frozen=True, slots=True)
class Said:
    """What the user said."""

    id: UUID
    text: str
    at: datetime
    kind: Literal["said"] = "said"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of it. ``retryable``: the session's last turn, and it gave no whole answer."""

    turn_id: UUID | None
    state: TurnState
    text: str
    error: str
    retryable: bool
    at: datetime
    kind: Literal["answer"] = "answer"

    @property
    def open(self) -> bool:
        return self.state in OPEN_STATES


@dataclass(frozen=True, slots=True)
class Transcript:
    """Oldest first; ``earlier`` is the cursor of the part before, None where there is none."""

    session: Session
    entries: list[Said | Answer]
    earlier: UUID | None


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Sessions, newest first; ``more`` is the cursor of those after."""

    items: list[Session]
    more: UUID | None
    archived: bool


def session_page(*, actor: Actor, archived: bool, cursor: UUID | None = None) -> SessionPage:
    query = PageQuery(limit=SESSIONS_AT_ONCE, cursor=cursor)
    page = page_of(sessions.session_list(actor=actor, archived=archived), query)
    return SessionPage(cast("list[Session]", page["items"]), cast("UUID | None", page["next"]), archived)


def transcript(*, actor: Actor, session_id: UUID, cursor: UUID | None = None) -> Transcript:
    """The session's last messages, or those before ``cursor``. Raises ``not_found``."""
    session = sessions.session_get(actor=actor, session_id=session_id)
    query = PageQuery(limit=MESSAGES_AT_ONCE, cursor=cursor)
    page = page_of(sessions.message_list(actor=actor, session_id=session_id), query)
    messages = cast("list[Message]", page["items"])[::-1]
    turns = _turns_of(actor, messages)
    last = max((turn.id for turn in turns), default=None) if cursor is None else None
    return Transcript(session, _entries(messages, turns, last), cast("UUID | None", page["next"]))


def answer(*, actor: Actor, turn_id: UUID) -> Answer:
    """One turn's answer. Raises ``not_found``."""
    turn = selectors.turn_get(actor=actor, turn_id=turn_id)
    last = selectors.turn_last(actor=actor, session_id=turn.session_id)
    return _answer(turn, last.id if last else None)


def _turns_of(actor: Actor, messages: list[Message]) -> list[Turn]:
    ids = [message.id for message in messages]
    mine = Q(input_message_id__in=ids) | Q(output_message_id__in=ids)
    return list(selectors.turns_of(actor).filter(mine).order_by("id"))


def _entries(messages: list[Message], turns: list[Turn], last: UUID | None) -> list[Said | Answer]:
    """Messages and turns in the order in which they came: keys sort by time."""
    by_output = {turn.output_message_id: turn for turn in turns if turn.output_message_id}
    entries: list[tuple[UUID, Said | Answer]] = [
        (message.id, _of_message(message, by_output.get(message.id), last)) for message in messages
    ]
    entries += [(turn.id, _answer(turn, last)) for turn in _without_text(messages, turns)]
    return [entry for _, entry in sorted(entries, key=lambda pair: pair[0])]


def _without_text(messages: list[Message], turns: Iterable[Turn]) -> list[Turn]:
    """Turns that no message shows: one that runs, or that ended without a word and was not tried again."""
    shown = {message.id for message in messages}
    latest = {turn.input_message_id: turn for turn in turns}
    return [
        turn for turn in latest.values() if turn.output_message_id is None and turn.input_message_id in shown
    ]


def _of_message(message: Message, turn: Turn | None, last: UUID | None) -> Said | Answer:
    if message.role == "user":
        return Said(message.id, message.text, message.created_at)
    if turn is not None:
        return _answer(turn, last)
    state = TurnState.COMPLETED if message.complete else TurnState.CANCELLED
    return Answer(None, state, message.text, "", retryable=False, at=message.created_at)


def _answer(turn: Turn, last: UUID | None) -> Answer:
    output = turn.output_message
    state = TurnState(turn.state)
    return Answer(
        turn_id=turn.id,
        state=state,
        text=output.text if output else "",
        error=turn.error_message,
        retryable=turn.id == last and state in (TurnState.FAILED, TurnState.CANCELLED),
        at=output.created_at if output else turn.created_at,
    )
