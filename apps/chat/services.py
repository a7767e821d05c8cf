"""Writes of a turn's user: submit, try again, cancel. All run inside the tenant's scope."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.sessions import selectors as sessions
from apps.sessions import services as session_services
from somaagent.errors import Kind, SomaError, invalid
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.idempotency import Idempotency

from . import selectors
from .models import Turn, TurnState

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
