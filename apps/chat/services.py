"""Writes on turns: how one is submitted, taken, kept, finished. All run inside the tenant's scope."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from apps.sessions import selectors as sessions
from apps.sessions import services as session_services
from somaagent.agent.messages import Usage
from somaagent.errors import Kind, SomaError, invalid
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.idempotency import Idempotency

from . import selectors
from .models import OPEN_STATES, Turn, TurnState

HISTORY_MESSAGES = 200
QUEUED_TOO_LONG = timedelta(seconds=15)
RETRYABLE_STATES = [TurnState.FAILED, TurnState.CANCELLED]


def turn_submit(
    *,
    actor: Actor,
    text: str,
    session_id: UUID | None = None,
    agent: str | None = None,
    idempotency: Idempotency | None = None,
) -> tuple[Turn, bool]:
    """Keep the message and a queued turn, in ``session_id`` or a new session; and whether it is new."""
    _check_text(text)
    if existing := _made_before(actor, idempotency):
        return existing, False
    try:
        with transaction.atomic():
            if session_id is None:
                session = session_services.session_create(actor=actor, agent=agent)
            else:
                session = sessions.session_get(actor=actor, session_id=session_id)
            _refuse_when_busy(session.id)
            message = session_services.message_from_user(session=session, text=text)
            return _queued(actor, session.id, message.id, idempotency), True
    except IntegrityError as error:
        return _first_of_two(actor, idempotency, error), False


def turn_retry(*, actor: Actor, turn_id: UUID, idempotency: Idempotency | None = None) -> tuple[Turn, bool]:
    """A new turn on the same message, after one that failed or was stopped and is the session's last."""
    if existing := _made_before(actor, idempotency):
        return existing, False
    failed = selectors.turn_get(actor=actor, turn_id=turn_id)
    last = selectors.turn_last(actor=actor, session_id=failed.session_id)
    if failed.state not in RETRYABLE_STATES or last is None or last.id != failed.id:
        raise SomaError(
            Kind.CONFLICT,
            "turn_not_retryable",
            "Only the last turn of a session can be tried again, when it failed.",
        )
    try:
        with transaction.atomic():
            return _queued(actor, failed.session_id, failed.input_message_id, idempotency), True
    except IntegrityError as error:
        return _first_of_two(actor, idempotency, error), False


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


def _first_of_two(actor: Actor, idempotency: Idempotency | None, error: IntegrityError) -> Turn:
    """Two at once: the other one is the session's running turn, or it is this one, sent twice."""
    if existing := _made_before(actor, idempotency):
        return existing
    raise _busy() from error


def turn_cancel(*, actor: Actor, turn_id: UUID) -> Turn:
    """Ask a turn to stop. One that nobody took yet is cancelled at once; a running one by its host."""
    selectors.turn_get(actor=actor, turn_id=turn_id)
    now = timezone.now()
    Turn.objects.filter(id=turn_id, state=TurnState.QUEUED).update(
        state=TurnState.CANCELLED, cancel_requested_at=now, finished_at=now
    )
    Turn.objects.filter(id=turn_id, state=TurnState.RUNNING, cancel_requested_at=None).update(
        cancel_requested_at=now
    )
    return selectors.turn_get(actor=actor, turn_id=turn_id)


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


def _refuse_when_busy(session_id: UUID) -> None:
    if selectors.open_turn_ids(session_id=session_id):
        raise _busy()


def _busy() -> SomaError:
    return SomaError(
        Kind.CONFLICT,
        "session_busy",
        "A turn is running in this session: wait for it, or cancel it.",
        retry_after=1,
    )


@dataclass(frozen=True, slots=True)
class Work:
    """A claimed turn, with what its host needs to answer it."""

    turn_id: UUID
    tenant_id: UUID
    session_id: UUID
    attempt: int
    submitted_at: datetime
    conversation: sessions.Conversation


def turn_claim(*, turn_id: UUID, owner: str) -> Work | None:
    """Take a queued turn. None when another host was first, or the turn is gone."""
    now = timezone.now()
    claimed = Turn.objects.filter(id=turn_id, state=TurnState.QUEUED).update(
        state=TurnState.RUNNING,
        lease_owner=owner,
        lease_expires_at=now + lease_length(),
        started_at=now,
        attempt=F("attempt") + 1,
    )
    if not claimed:
        return None
    turn = Turn.objects.get(id=turn_id)
    conversation = sessions.conversation(
        session_id=turn.session_id, up_to=turn.input_message_id, most=HISTORY_MESSAGES
    )
    if conversation is None:
        return None
    return Work(turn.id, turn.tenant_id, turn.session_id, turn.attempt, turn.created_at, conversation)


def lease_length() -> timedelta:
    return timedelta(seconds=settings.TURN_LEASE_SECONDS)


def turn_renew(*, turn_id: UUID, owner: str) -> TurnState | None:
    """Move the lease on. ``cancelled`` when somebody asked to stop; None when another host has the turn."""
    mine = Turn.objects.filter(id=turn_id, state=TurnState.RUNNING, lease_owner=owner)
    if not mine.update(lease_expires_at=timezone.now() + lease_length()):
        return None
    return (
        TurnState.CANCELLED if mine.filter(cancel_requested_at__isnull=False).exists() else TurnState.RUNNING
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended: its state, the text that there is, what it used, the error if it failed."""

    state: TurnState
    text: str
    usage: Usage
    last_event: int
    error_code: str = ""
    error_message: str = ""
    error_retryable: bool = False


def turn_finish(*, turn_id: UUID, owner: str, outcome: Outcome) -> tuple[bool, UUID | None]:
    """End a turn, once. False when it is no longer this host's; with the id of the stored answer."""
    finished = Turn.objects.filter(id=turn_id, state=TurnState.RUNNING, lease_owner=owner).update(
        state=outcome.state,
        finished_at=timezone.now(),
        lease_owner="",
        lease_expires_at=None,
        error_code=outcome.error_code,
        error_message=outcome.error_message[:500],
        error_retryable=outcome.error_retryable,
        last_event=outcome.last_event,
        **outcome.usage.data(),
    )
    if not finished:
        return False, None
    if not outcome.text:
        return True, None
    turn = Turn.objects.get(id=turn_id)
    message = session_services.message_from_agent(
        tenant_id=turn.tenant_id,
        session_id=turn.session_id,
        text=outcome.text,
        complete=outcome.state == TurnState.COMPLETED,
    )
    Turn.objects.filter(id=turn_id).update(output_message=message)
    return True, message.id


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found: turns whose host is gone and were ended, turns that nobody took."""

    lost: list[UUID]
    waiting: list[UUID]


def turns_sweep() -> Swept:
    """End what a dead host left running, and find what nobody took."""
    now = timezone.now()
    lost: list[UUID] = []
    expired = Turn.objects.filter(state__in=OPEN_STATES, lease_expires_at__lt=now)
    for turn_id in expired.values_list("id", flat=True):
        ended = Turn.objects.filter(id=turn_id, state=TurnState.RUNNING, lease_expires_at__lt=now).update(
            state=TurnState.FAILED,
            finished_at=now,
            lease_owner="",
            lease_expires_at=None,
            error_code="host_lost",
            error_message="The server that was answering stopped. Try again.",
            error_retryable=True,
        )
        if ended:
            lost.append(turn_id)
    stale = Turn.objects.filter(state=TurnState.QUEUED, created_at__lt=now - QUEUED_TOO_LONG)
    return Swept(lost, list(stale.values_list("id", flat=True)))
