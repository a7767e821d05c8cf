"""Writes of a turn's user: submit, answer again, cancel. All run inside the tenant's scope."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.sessions import selectors as sessions
from apps.sessions import services as session_services
from somaagent.errors import Kind, SomaError, invalid, not_found
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.idempotency import Idempotency

from . import selectors
from .models import OPEN_STATES, OnBusy, Turn, TurnState

if TYPE_CHECKING:
    from apps.sessions.models import Message, Session

MOST_WAITING = 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a session an input stands; with neither, at the end of the active branch.

    ``after``: the answer that it follows. ``replaces``: the user's message that it stands in for.
    """

    after: UUID | None = None
    replaces: UUID | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """A turn, and what is to be done about it.

    ``starts``: a host may take it now. Else it was submitted before, or waits for its session's running turn.
    ``stopped``: turns that have to make room for it: queued ones are cancelled, running ones to be told.
    """

    turn: Turn
    starts: bool = False
    stopped: list[Turn] = dataclasses.field(default_factory=list)


def turn_submit(
    *,
    actor: Actor,
    text: str,
    session_id: UUID | None = None,
    agent: str | None = None,
    place: Place | None = None,
    on_busy: OnBusy = OnBusy.REJECT,
    idempotency: Idempotency | None = None,
) -> Submitted:
    """Keep the message and a queued turn, in ``session_id`` or a new session."""
    _check_text(text)
    if existing := _made_before(actor, idempotency):
        return Submitted(existing)
    try:
        with transaction.atomic():
            session = _session(actor, session_id, agent)
            stopped, waits = _make_room(session, on_busy) if session_id else ([], False)
            message = session_services.message_from_user(
                session=session, text=text, parent=_parent(actor, session, place or Place())
            )
            turn = _queued(actor, session.id, message.id, idempotency)
    except IntegrityError:
        if existing := _made_before(actor, idempotency):
            return Submitted(existing)  # sent twice at once: the other one was first
        raise
    return Submitted(turn, starts=not waits, stopped=stopped)


def _session(actor: Actor, session_id: UUID | None, agent: str | None) -> Session:
    if session_id is None:
        return session_services.session_create(actor=actor, agent=agent)
    return sessions.session_get(actor=actor, session_id=session_id, locked=True)


def _parent(actor: Actor, session: Session, place: Place) -> UUID | None:
    """The message that an input at ``place`` follows."""
    if place.after and place.replaces:
        raise invalid("body.replaces", "An input either follows a message or replaces one.")
    if place.after:
        return _named(session, "after", "assistant", place.after).id
    if place.replaces:
        return _named(session, "replaces", "user", place.replaces).parent_id
    return session.active_message_id


def _named(session: Session, field: str, role: str, message_id: UUID) -> Message:
    message = sessions.message_list(session_id=session.id).filter(id=message_id, role=role).first()
    if message is None:
        raise invalid(f"body.{field}", f"This session has no such message of role “{role}”.")
    return message


def _make_room(session: Session, on_busy: OnBusy) -> tuple[list[Turn], bool]:
    """The open turns that were asked to stop, and whether the new one has to wait for one of them."""
    open_turns = list(selectors.turns_open(session_id=session.id))
    if not open_turns:
        return [], False
    if on_busy == OnBusy.REJECT:
        raise _busy("A turn is running in this session: wait for it, cancel it, or say on_busy.")
    if on_busy == OnBusy.INTERRUPT:
        stopped = [_stop(turn) for turn in open_turns]
        return stopped, any(turn.state == TurnState.RUNNING for turn in stopped)
    if len(open_turns) > MOST_WAITING:
        raise _busy(f"{MOST_WAITING} turns wait in this session already: wait for them, or cancel some.")
    return [], True


def turn_retry(*, actor: Actor, turn_id: UUID, idempotency: Idempotency | None = None) -> Submitted:
    """A new turn on the same message: another try after a failure, or another answer beside the first."""
    if existing := _made_before(actor, idempotency):
        return Submitted(existing)
    earlier = selectors.turn_get(actor=actor, turn_id=turn_id)
    try:
        with transaction.atomic():
            session = sessions.session_get(actor=actor, session_id=earlier.session_id, locked=True)
            _make_room(session, OnBusy.REJECT)
            session_services.refuse_archived(session)
            session_services.branch_activate(session=session, end=earlier.input_message_id)
            turn = _queued(actor, session.id, earlier.input_message_id, idempotency)
    except IntegrityError:
        if existing := _made_before(actor, idempotency):
            return Submitted(existing)
        raise
    return Submitted(turn, starts=True)


def _queued(actor: Actor, session_id: UUID, message_id: UUID, idempotency: Idempotency | None) -> Turn:
    return Turn.objects.create(
        tenant_id=actor.tenant_id,
        session_id=session_id,
        user_id=actor.user_id,
        input_message_id=message_id,
        **(idempotency.columns() if idempotency else {}),
    )


def _made_before(actor: Actor, idempotency: Idempotency | None) -> Turn | None:
    return idempotency.find(selectors.turns_of(actor)) if idempotency else None


def turn_cancel(*, actor: Actor, turn_id: UUID) -> tuple[Turn, UUID | None]:
    """Ask a turn to stop. One that nobody took yet is cancelled at once; a running one by its host.

    Gives the turn, and the one of its session whose time has come with that.
    """
    turn = selectors.turn_get(actor=actor, turn_id=turn_id)
    if turn.state not in OPEN_STATES:
        return turn, None
    return _stop(turn), selectors.turn_next(session_id=turn.session_id)


def _stop(turn: Turn) -> Turn:
    now = timezone.now()
    Turn.objects.filter(id=turn.id, state=TurnState.QUEUED).update(
        state=TurnState.CANCELLED, cancel_requested_at=now, finished_at=now
    )
    Turn.objects.filter(id=turn.id, state=TurnState.RUNNING, cancel_requested_at=None).update(
        cancel_requested_at=now
    )
    stopped = Turn.objects.select_related("output_message").filter(id=turn.id).first()
    if stopped is None:
        raise not_found("turn")
    return stopped


def _check_text(text: str) -> None:
    most = settings.MESSAGE_MAX_CHARS
    if len(text) > most:
        raise SomaError(
            Kind.TOO_LARGE,
            "message_too_long",
            f"A message holds at most {most} characters.",
            field="body.input",
        )
    if not text.strip():
        raise invalid("body.input", "Write something.")


def _busy(sentence: str) -> SomaError:
    return SomaError(Kind.CONFLICT, "session_busy", sentence, retry_after=1)
