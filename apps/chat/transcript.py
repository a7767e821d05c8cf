"""A session as the page shows it: what was said, and how each turn went. Read inside the tenant's scope."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal, cast
from uuid import UUID

from django.db.models import Q

from apps.sessions import selectors as sessions
from apps.sessions.branches import MessageRow
from apps.sessions.selectors import SessionRow
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.scripts import performed
from somaagent.web.pagination import PageQuery

from . import selectors
from .models import OPEN_STATES, Turn, TurnState
from .shown_calls import ShownCall, calls_of_turns

if TYPE_CHECKING:
    from apps.sessions.models import Session

MESSAGES_AT_ONCE = 40
SESSIONS_AT_ONCE = 40


@dataclass(frozen=True, slots=True)
class Fork:
    """A message among those that follow the same one: which it is, from 1, and its neighbours."""

    number: int
    total: int
    before: UUID | None
    after: UUID | None


@dataclass(frozen=True, slots=True)
class Said:
    """What the user said. ``fork``: where it was edited, and so stands beside others."""

    id: UUID
    text: str
    at: datetime
    fork: Fork | None = None
    kind: Literal["said"] = "said"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of it. ``last``: nothing follows on its branch, so that it can be answered again.

    ``waits``: it is not begun before another answer of the session has ended. ``thoughts``: what the model
    thought before it, once that is over.
    """

    turn_id: UUID | None
    message_id: UUID | None
    state: TurnState
    text: str
    error: str
    last: bool
    at: datetime
    fork: Fork | None = None
    waits: bool = False
    calls: tuple[ShownCall, ...] = ()
    thoughts: str = ""
    kind: Literal["answer"] = "answer"

    @property
    def open(self) -> bool:
        return self.state in OPEN_STATES

    @property
    def repeatable(self) -> bool:
        """Another answer may be asked for: another try, or one beside it."""
        return self.last and self.turn_id is not None and not self.open

    @property
    def retryable(self) -> bool:
        """It gave no whole answer, and may be tried again."""
        return self.repeatable and self.state in (TurnState.FAILED, TurnState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Transcript:
    """Oldest first; ``earlier`` is the cursor of the part before, None where there is none."""

    session: Session
    entries: list[Said | Answer]
    earlier: UUID | None


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Sessions, newest first; ``more`` is the cursor of those after. In those ``asking`` a call waits
    for approval.
    """

    items: list[SessionRow]
    more: UUID | None
    archived: bool
    asking: set[UUID]


def session_page(*, actor: Actor, archived: bool, cursor: UUID | None = None) -> SessionPage:
    query = PageQuery(limit=SESSIONS_AT_ONCE, cursor=cursor)
    page = performed(sessions.session_page(actor=actor, archived=archived, query=query))
    asking = selectors.sessions_asking(session_ids=[session.id for session in page.items])
    return SessionPage(page.items, page.next, archived, asking)


def transcript(*, actor: Actor, session_id: UUID, cursor: UUID | None = None) -> Transcript:
    """The end of the session's active branch, or what stands before ``cursor``. Raises ``not_found``."""
    session = sessions.session_get(actor=actor, session_id=session_id)
    # Before the messages: what ends meanwhile is shown as open, not as a question without an answer.
    opened = list(selectors.turns_open(session_id=session_id))
    query = PageQuery(limit=MESSAGES_AT_ONCE, cursor=cursor)
    branch = performed(sessions.message_page(actor=actor, session_id=session_id, query=query))
    messages = branch.items[::-1]
    turns = _turns_of(actor, messages)
    shown = _Shown(messages, turns, opened, ends=cursor is None)
    return Transcript(session, _with_work(actor, shown.entries()), branch.next)


def answer(*, actor: Actor, turn_id: UUID) -> Answer:
    """One turn's answer. Raises ``not_found``."""
    turn = selectors.turn_get(actor=actor, turn_id=turn_id)
    session = sessions.session_get(actor=actor, session_id=turn.session_id)
    found = sessions.replies(session_id=session.id, message_id=turn.input_message_id)
    end = turn.output_message_id or turn.input_message_id
    shown = _answer(turn, last=session.active_message_id == end, alternatives=found)
    (entry,) = _with_work(actor, [shown])
    return cast("Answer", entry)


def calls(*, actor: Actor, turn_id: UUID) -> tuple[ShownCall, ...]:
    """The calls of a turn of the actor's, for those who know that it is."""
    return calls_of_turns(turn_ids=[turn_id], reader=actor.user_id).get(turn_id, ())


def _with_work(actor: Actor, entries: Sequence[Said | Answer]) -> list[Said | Answer]:
    """The same, with what was done for each answer: calls of tools, and thoughts."""
    answers = {entry.turn_id: entry for entry in entries if isinstance(entry, Answer) and entry.turn_id}
    found = calls_of_turns(turn_ids=answers, reader=actor.user_id)
    # Of those that still run, a reader of the turn's events is told them.
    thoughts = selectors.thoughts_of(turn_ids=[key for key, entry in answers.items() if not entry.open])
    return [
        replace(entry, calls=found.get(entry.turn_id, ()), thoughts=thoughts.get(entry.turn_id, ""))
        if isinstance(entry, Answer) and entry.turn_id
        else entry
        for entry in entries
    ]


def _turns_of(actor: Actor, messages: list[MessageRow]) -> list[Turn]:
    ids = [message.id for message in messages]
    mine = Q(input_message_id__in=ids) | Q(output_message_id__in=ids)
    return list(selectors.turns_of(actor).filter(mine).order_by("id"))


class _Shown:
    """A part of a branch, oldest first, and the turns that belong to it. ``ends``: nothing follows it.

    ``opened``: the session's turns that were open just before, oldest first.
    """

    def __init__(
        self,
        messages: list[MessageRow],
        turns: list[Turn],
        opened: list[Turn],
        *,
        ends: bool,
    ) -> None:
        self._messages = messages
        self._opened = {turn.id: turn for turn in opened}
        # One goes on, or begins when those that were asked to stop have done so. The others wait.
        self._waiting = [turn.id for turn in opened if turn.cancel_requested_at is None][1:]
        self._ends = ends
        self._of_output = {turn.output_message_id: turn for turn in turns if turn.output_message_id}
        # The newest of each message: of those that ended without a word only the last is shown.
        self._of_input = {turn.input_message_id: turn for turn in turns}

    def entries(self) -> list[Said | Answer]:
        entries: list[Said | Answer] = []
        for message, following in zip(self._messages, [*self._messages[1:], None], strict=True):
            last = self._ends and following is None
            entries.append(self._of_message(message, last=last))
            if message.role == "user" and (following is None or following.role == "user"):
                entries.extend(self._wordless(message, last=last))
        return entries

    def _of_message(self, message: MessageRow, *, last: bool) -> Said | Answer:
        alternatives = message.alternatives
        if message.role == "user":
            return Said(message.id, message.text, message.created_at, _fork(message.id, alternatives))
        if (turn := self._of_output.get(message.id)) is not None:
            return _answer(turn, last=last, alternatives=alternatives)
        state = TurnState.COMPLETED if message.complete else TurnState.CANCELLED
        fork = _fork(message.id, alternatives)
        return Answer(None, message.id, state, message.text, "", last, message.created_at, fork)

    def _wordless(self, message: MessageRow, *, last: bool) -> Iterable[Answer]:
        """The turn of a message that no answer follows: it runs, waits, or ended without a word."""
        turn = self._of_input.get(message.id)
        if turn is not None:
            turn = self._opened.get(turn.id, turn)
        if turn is not None and turn.output_message_id is None:
            shown = _answer(turn, last=last, alternatives=[])
            yield replace(shown, waits=turn.id in self._waiting)


def _answer(turn: Turn, *, last: bool, alternatives: list[UUID]) -> Answer:
    output = turn.output_message
    return Answer(
        turn_id=turn.id,
        message_id=output.id if output else None,
        state=TurnState(turn.state),
        text=output.text if output else "",
        error=turn.error_message,
        last=last,
        at=output.created_at if output else turn.created_at,
        fork=_fork(output.id, alternatives) if output else None,
    )


def _fork(message_id: UUID, alternatives: list[UUID]) -> Fork | None:
    if len(alternatives) < 2:  # noqa: PLR2004 one road is no fork
        return None
    place = alternatives.index(message_id)
    before = alternatives[place - 1] if place else None
    after = alternatives[place + 1] if place + 1 < len(alternatives) else None
    return Fork(place + 1, len(alternatives), before, after)
