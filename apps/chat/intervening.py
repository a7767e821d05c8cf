"""What managers do to turns of others: cancel, retry, hand over. Who did it goes to the audit.

All run inside the tenant's scope, as one transaction; hosts, workers and readers are told when it is
committed. That the caller may do it, was looked at before.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from somaagent.background import run_coroutine
from somaagent.errors import Kind, SomaError
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.entries import Who, audit_entry_create
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.models import Scope
from somaagent.tenancy.scripts import performed
from somaagent.tenancy.selectors import actor_in_tenant

from . import handover, hosting, services, sweeping, turns
from .models import OPEN_STATES, Turn, TurnState
from .oversight import turn_overseen
from .services import Cancelled, Submitted
from .webhooks import services as webhooks


def turn_cancel(*, by: Who, turn_id: UUID) -> Turn:
    """Ask somebody's turn to stop. One that nobody works at is cancelled at once, one that is over stays so.

    Raises ``not_found``.
    """
    turn = turn_overseen(turn_id=turn_id)
    if turn.state not in OPEN_STATES:
        return turn
    # For what the script asks, its user is who the turn says, member or not.
    user = Actor(turn.tenant_id, turn.user_id, "", frozenset(), "schedule")
    cancelled = performed(services.turn_cancel(actor=user, turn_id=turn_id))
    _when_committed(functools.partial(_tell_cancelled, turn.tenant_id, cancelled))
    if cancelled.turn.state == TurnState.RUNNING and _is_lost(cancelled.turn):
        swept = hosting.turn_sweep(turn_id=turn_id)
        _when_committed(functools.partial(sweeping.tell, turn.tenant_id, swept))
    after = turn_overseen(turn_id=turn_id)
    _audit(by, "cancelled", turn, state=after.state)
    return after


def turn_hand_over(*, by: Who, turn_id: UUID) -> Turn:
    """Do at once what the sweep would do to a turn that nobody works at.

    Raises ``not_found``, and ``turn_not_stuck`` for one that somebody works at, or that has to wait.
    """
    turn = turn_overseen(turn_id=turn_id)
    swept = hosting.turn_sweep(turn_id=turn_id)
    if turn_id not in {*swept.waiting, *(turn.id for turn in swept.over)}:
        sentence = "A host has this turn, it waits for another one or for an answer, or it is over."
        raise SomaError(Kind.CONFLICT, "turn_not_stuck", sentence)
    _when_committed(functools.partial(sweeping.tell, turn.tenant_id, swept))
    after = turn_overseen(turn_id=turn_id)
    _audit(by, "handed_over", turn, state=after.state)
    return after


def turn_retry(*, by: Who, turn_id: UUID, idempotency: Idempotency | None = None) -> Turn:
    """Answer the same message again, in a worker, as a turn of the user who wrote it.

    Raises ``not_found``, ``user_gone`` and ``user_only_reads`` where that user could not do it now, and what
    their own retry would: ``session_busy``, ``budget_exceeded`` …
    """
    earlier = turn_overseen(turn_id=turn_id)
    user = _user_of(earlier)
    once = _of_operator(by, idempotency)

    def submitted() -> Submitted:
        with transaction.atomic():
            return performed(services.turn_retry(actor=user, turn_id=turn_id, idempotency=once))

    try:
        made = submitted()
    except IntegrityError:  # the same request came twice at once: this finds the other's turn
        made = submitted()
    if made.starts:
        told = functools.partial(handover.to_workers, made.turn.id, made.turn.tenant_id)
        _when_committed(told)
        _audit(by, "retried", earlier, new_turn_id=made.turn.id)
    return turn_overseen(turn_id=made.turn.id)


def _user_of(turn: Turn) -> Actor:
    """The turn's user, with what they may do today."""
    user = actor_in_tenant(user_id=turn.user_id, tenant_id=turn.tenant_id)
    if user is None:
        sentence = "The turn's user was disabled, or is no longer a member: nobody could be answered."
        raise SomaError(Kind.CONFLICT, "user_gone", sentence)
    if Scope.WRITE not in user.scopes:
        sentence = "The turn's user may only read by now: give them another role first."
        raise SomaError(Kind.CONFLICT, "user_only_reads", sentence)
    return user


def _of_operator(by: Who, idempotency: Idempotency | None) -> Idempotency | None:
    """The key of a turn, which is its user's: with spaces, which no key that a caller sends can have."""
    if idempotency is None:
        return None
    digest = hashlib.sha256(idempotency.key.encode()).hexdigest()
    return Idempotency(f"operator {by.user_id} {digest}", idempotency.digest)


def _is_lost(turn: Turn) -> bool:
    return turn.lease_expires_at is not None and turn.lease_expires_at < timezone.now()


def _tell_cancelled(tenant_id: UUID, cancelled: Cancelled) -> None:
    run_coroutine(turns.tell_stopped(cancelled.turn))
    if cancelled.following is not None:
        handover.to_workers(cancelled.following, tenant_id)
    if cancelled.deliveries:
        webhooks.wake_workers(cancelled.deliveries, tenant_id)


def _when_committed(tell: Callable[[], None]) -> None:
    # Robust, which logs what fails: the rows say it all, and the sweep and the heartbeats look at them.
    transaction.on_commit(tell, robust=True)


def _audit(by: Who, what: str, turn: Turn, **facts: object) -> None:
    whose = {"user_id": turn.user_id, "session_id": turn.session_id}
    audit_entry_create(
        by=by, action=f"turn.{what}", target_type="turn", target_id=turn.id, facts={**whose, **facts}
    )
