"""The runs of schedules: each an ordinary turn of the schedule's user, answered by a worker.

All run inside the tenant's scope, as one transaction: either the next time is planned, the run is on record
and its turn is queued, or nothing of it is.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from apps.chat import handover
from apps.chat import services as chat
from apps.chat.models import OnBusy, Turn
from apps.sessions import services as sessions
from somaagent.errors import Kind, SomaError
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.budgets.standing import EXCEEDED
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.models import Scope
from somaagent.tenancy.scripts import performed
from somaagent.tenancy.selectors import actor_in_tenant

from . import selectors, services
from .models import MissedRuns, RunOutcome, Schedule, ScheduleRun, SessionPolicy
from .timing import timing_of

# A run that is this late was missed: the platform was off, or its scheduler.
MISSED_AFTER = timedelta(minutes=5)
# Too many turns wait in the session, or a budget is used up: the next run may do better. After any other
# error none can.
PASSING = frozenset({"session_busy", EXCEEDED})


@dataclass(frozen=True, slots=True)
class Came:
    """What a time that was due came to, and how many seconds after it."""

    run: ScheduleRun
    late: float


def run_due(*, schedule_id: UUID, planned_at: datetime) -> Came | None:
    """Run what was planned for then. None when another sweep did, or the schedule has changed since."""
    now = timezone.now()
    planned = Schedule.objects.filter(id=schedule_id, enabled=True, next_run_at=planned_at)
    # Of two sweeps at once, one holds the row and the other passes it over; one that comes later finds that
    # the time is no longer planned.
    locked = planned.select_for_update(skip_locked=True, of=("self",))
    schedule = locked.select_related("agent").first()
    if schedule is None:
        return None
    late = now - planned_at
    try:
        timing = timing_of(cron=schedule.cron, time_zone=schedule.time_zone)
    except SomaError as error:
        return Came(_refused(schedule, planned_at, error), late.total_seconds())
    planned.update(next_run_at=timing.next_after(now))
    if late > MISSED_AFTER and schedule.missed_runs == MissedRuns.SKIP:
        skipped = SomaError(Kind.CONFLICT, "missed", "The platform was off when this run was due.")
        run = _record(schedule, planned_at, RunOutcome.SKIPPED, error=skipped)
    else:
        run = _run(schedule, planned_at, _key_of_turn(schedule, planned_at.isoformat()))
    return Came(run, late.total_seconds())


def run_for_its_user(*, schedule_id: UUID) -> ScheduleRun:
    """``run_now`` on an operator's wish: the turn is the schedule's user's all the same."""
    schedule = Schedule.objects.get(id=schedule_id)
    return run_now(actor=_actor_of(schedule), schedule_id=schedule_id)


def run_now(*, actor: Actor, schedule_id: UUID, idempotency: Idempotency | None = None) -> ScheduleRun:
    """Run one of the actor's schedules once more, paused or not. What is planned stays planned.

    Raises what an ordinary turn would: ``session_busy``, say.
    """
    selectors.schedule_get(actor=actor, schedule_id=schedule_id)
    # Locked, so that the same key sent twice at once is told apart.
    schedule = Schedule.objects.select_for_update(of=("self",)).select_related("agent").get(id=schedule_id)
    runs = selectors.run_list(actor=actor, schedule_id=schedule_id)
    if idempotency and (existing := idempotency.find(runs)):
        return existing
    turn = _submit(schedule, actor, None)
    return _record(schedule, None, RunOutcome.SUBMITTED, turn=turn, idempotency=idempotency)


def _run(schedule: Schedule, planned_at: datetime, once: Idempotency) -> ScheduleRun:
    try:
        with transaction.atomic():
            turn = _submit(schedule, _actor_of(schedule), once)
    except SomaError as error:
        if error.code in PASSING:
            return _record(schedule, planned_at, RunOutcome.SKIPPED, error=error)
        return _refused(schedule, planned_at, error)
    return _record(schedule, planned_at, RunOutcome.SUBMITTED, turn=turn)


def _submit(schedule: Schedule, actor: Actor, once: Idempotency | None) -> Turn:
    """The turn of a run: queued, and on its way to a worker once that is certain.

    In a session that is busy it waits, behind as many as a session lets wait.
    """
    submit = chat.turn_submit(
        actor=actor,
        text=schedule.prompt,
        session_id=_session_of(schedule, actor),
        on_busy=OnBusy.QUEUE,
        idempotency=once,
    )
    submitted = performed(submit)
    turn = submitted.turn
    if submitted.starts:
        transaction.on_commit(
            # Robust: the turn is there, and the sweep of the turns finds what no worker was told of.
            functools.partial(handover.to_workers, turn.id, actor.tenant_id),
            robust=True,
        )
    return turn


def _session_of(schedule: Schedule, actor: Actor) -> UUID:
    if schedule.session_policy == SessionPolicy.SAME and schedule.session_id is not None:
        return schedule.session_id
    if schedule.agent is None:
        raise SomaError(
            Kind.CONFLICT, "agent_gone", "The agent of this schedule was deleted: choose another one."
        )
    session = sessions.session_create(actor=actor, agent=schedule.agent.slug, title=schedule.name)
    if schedule.session_policy == SessionPolicy.SAME:
        Schedule.objects.filter(id=schedule.id).update(session=session)
    return session.id


def _actor_of(schedule: Schedule) -> Actor:
    """The schedule's user, with what they may do today."""
    actor = actor_in_tenant(user_id=schedule.user_id, tenant_id=schedule.tenant_id)
    if actor is None:
        raise SomaError(
            Kind.FORBIDDEN,
            "user_gone",
            "The schedule's user was disabled, or is no longer a member: an operator can undo that.",
        )
    if Scope.WRITE not in actor.scopes:
        raise SomaError(
            Kind.FORBIDDEN,
            "user_only_reads",
            "The schedule's user may only read by now: an owner can give them another role.",
        )
    return actor


def _refused(schedule: Schedule, planned_at: datetime, error: SomaError) -> ScheduleRun:
    services.schedule_pause(schedule_id=schedule.id, code=error.code, message=error.message)
    return _record(schedule, planned_at, RunOutcome.REFUSED, error=error)


def _record(
    schedule: Schedule,
    planned_at: datetime | None,
    outcome: RunOutcome,
    *,
    turn: Turn | None = None,
    error: SomaError | None = None,
    idempotency: Idempotency | None = None,
) -> ScheduleRun:
    if outcome == RunOutcome.SUBMITTED:
        Schedule.objects.filter(id=schedule.id).update(last_run_at=timezone.now(), last_turn=turn)
    return ScheduleRun.objects.create(
        tenant_id=schedule.tenant_id,
        schedule=schedule,
        planned_at=planned_at,
        outcome=outcome,
        turn=turn,
        reason_code=error.code if error else "",
        reason_message=error.message[:500] if error else "",
        **(idempotency.columns() if idempotency else {}),
    )


def _key_of_turn(schedule: Schedule, planned: str) -> Idempotency:
    """The turn's key: with spaces, which no key that a caller sends can have."""
    key = f"schedule {schedule.id} {planned}"
    return Idempotency(key, hashlib.sha256(key.encode()).digest())
