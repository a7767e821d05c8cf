"""Writes of a turn's host: take, keep, give back, finish; and what becomes of a dead host's turns.

All run inside the tenant's scope, and each may run twice: a host that lost its connection in a commit does
it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from apps.sessions import selectors as sessions
from apps.sessions import services as session_services
from somaagent.agent.events import StepCompleted
from somaagent.agent.messages import Usage

from . import selectors
from .models import OPEN_STATES, Step, Turn, TurnState

HISTORY_MESSAGES = 200
QUEUED_TOO_LONG = timedelta(seconds=15)
# A turn that takes every host with it must not go round for ever.
MOST_ATTEMPTS = 5
# The form of ``Step.data``: raised with every change that older code could not read.
STEP_VERSION = 1


@dataclass(frozen=True, slots=True)
class Work:
    """A claimed turn, with what its host needs to answer it: the steps that are done, oldest first."""

    turn_id: UUID
    tenant_id: UUID
    session_id: UUID
    owner: str
    attempt: int
    submitted_at: datetime
    conversation: sessions.Conversation
    done: Sequence[StepCompleted]


def turn_claim(*, turn_id: UUID, owner: str) -> Work | None:
    """Take a queued turn. None when another host was first, it has to wait, or it is gone."""
    if not _claimed(turn_id, owner):
        return None
    turn = Turn.objects.get(id=turn_id)
    conversation = sessions.conversation(
        session_id=turn.session_id, up_to=turn.input_message_id, most=HISTORY_MESSAGES
    )
    if conversation is None:
        return None
    return Work(
        turn_id=turn.id,
        tenant_id=turn.tenant_id,
        session_id=turn.session_id,
        owner=owner,
        attempt=turn.attempt,
        submitted_at=turn.created_at,
        conversation=conversation,
        done=[StepCompleted.from_data(step.data) for step in turn.steps.order_by("number")],
    )


def _claimed(turn_id: UUID, owner: str) -> bool:
    now = timezone.now()
    mine = Turn.objects.filter(~Exists(_before_it()), id=turn_id, state=TurnState.QUEUED)
    try:
        with transaction.atomic():
            return bool(
                mine.update(
                    state=TurnState.RUNNING,
                    lease_owner=owner,
                    lease_expires_at=now + lease_length(),
                    started_at=now,
                    attempt=F("attempt") + 1,
                )
            )
    except IntegrityError:
        return False  # in the same moment another turn of the session was taken


def _before_it() -> QuerySet[Turn]:
    """What a queued turn has to wait for: its session's running turn, and the older queued ones."""
    same_session = Turn.objects.filter(session_id=OuterRef("session_id"), state__in=OPEN_STATES)
    return same_session.filter(Q(state=TurnState.RUNNING) | Q(id__lt=OuterRef("id")))


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


def step_keep(*, turn_id: UUID, owner: str, step: StepCompleted) -> bool:
    """Keep a finished step. False when another host has the turn: its steps are the ones that count."""
    turn = (
        Turn.objects.select_for_update()
        .filter(id=turn_id, state=TurnState.RUNNING, lease_owner=owner)
        .first()
    )
    if turn is None:
        return False
    Step.objects.get_or_create(
        turn=turn,
        number=step.step,
        defaults={"tenant_id": turn.tenant_id, "version": STEP_VERSION, "data": step.data()},
    )
    return True


def turn_give_back(*, turn_id: UUID, owner: str) -> bool:
    """Queue a turn again that this host cannot go on with. False when it is no longer this host's."""
    mine = Turn.objects.filter(id=turn_id, state=TurnState.RUNNING, lease_owner=owner)
    return bool(mine.update(**_queued_again()))


def _queued_again() -> dict[str, object]:
    return {
        "state": TurnState.QUEUED,
        "queued_at": timezone.now(),
        "lease_owner": "",
        "lease_expires_at": None,
    }


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


@dataclass(frozen=True, slots=True)
class Finished:
    """What finishing came to: whether the turn is there at all, was this host's, its stored answer, and the
    session's next turn, whose time has come now.
    """

    there: bool
    mine: bool
    message_id: UUID | None = None
    following: UUID | None = None


def turn_finish(*, work: Work, outcome: Outcome) -> Finished:
    """End a turn, once. The owner's name stays with a finished turn: by it a repeated call knows its own."""
    # First the session, then its turns, as everybody who needs both.
    session = sessions.session_locked(session_id=work.session_id)
    finished = _finished(work, outcome)
    turn = Turn.objects.filter(id=work.turn_id).first()
    if session is None or turn is None:
        return Finished(there=False, mine=False)
    if not finished:
        mine = turn.lease_owner == work.owner and turn.attempt == work.attempt
        following = selectors.turn_next(session_id=session.id) if mine else None
        return Finished(True, mine, turn.output_message_id, following)
    if outcome.text:
        turn.output_message = session_services.message_from_agent(
            session=session,
            parent=turn.input_message_id,
            text=outcome.text,
            complete=outcome.state == TurnState.COMPLETED,
            waiting=selectors.inputs_not_taken(session_id=session.id),
        )
        turn.save(update_fields=["output_message"])
    return Finished(True, True, turn.output_message_id, selectors.turn_next(session_id=session.id))


def _finished(work: Work, outcome: Outcome) -> bool:
    mine = Turn.objects.filter(id=work.turn_id, state=TurnState.RUNNING, lease_owner=work.owner)
    return bool(
        mine.update(
            state=outcome.state,
            finished_at=timezone.now(),
            lease_expires_at=None,
            error_code=outcome.error_code,
            error_message=outcome.error_message[:500],
            error_retryable=outcome.error_retryable,
            last_event=outcome.last_event,
            **outcome.usage.data(),
        )
    )


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found: turns to host anew, turns that it ended as cancelled, turns that it gave up."""

    waiting: list[UUID]
    cancelled: list[UUID]
    lost: list[UUID]


def turns_sweep() -> Swept:
    """Queue what dead hosts left running, and find all that nobody took."""
    now = timezone.now()
    swept = Swept([], [], [])
    expired = Turn.objects.filter(state__in=OPEN_STATES, lease_expires_at__lt=now)
    for turn in expired.only("id", "attempt", "cancel_requested_at"):
        still = Turn.objects.filter(id=turn.id, state=TurnState.RUNNING, lease_expires_at__lt=now)
        if turn.cancel_requested_at is not None:
            ended = {"state": TurnState.CANCELLED, "finished_at": now, "lease_expires_at": None}
            found, facts = swept.cancelled, ended
        elif turn.attempt >= MOST_ATTEMPTS:
            found, facts = swept.lost, _given_up(now)
        else:
            found, facts = swept.waiting, _queued_again()
        if still.update(**facts):
            found.append(turn.id)
    stale = Turn.objects.filter(
        ~Exists(_before_it()), state=TurnState.QUEUED, queued_at__lt=now - QUEUED_TOO_LONG
    )
    swept.waiting.extend(stale.values_list("id", flat=True))
    return swept


def _given_up(now: datetime) -> dict[str, object]:
    return {
        "state": TurnState.FAILED,
        "finished_at": now,
        "lease_expires_at": None,
        "error_code": "host_lost",
        "error_message": f"{MOST_ATTEMPTS} servers stopped while they were answering. Try again.",
        "error_retryable": True,
    }
