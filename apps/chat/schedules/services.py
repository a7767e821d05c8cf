"""Writes of a schedule's user: make, change, pause, resume, delete. All run inside the tenant's scope."""

from __future__ import annotations

import hashlib
from typing import Any, TypedDict, Unpack
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.sessions import selectors as sessions
from apps.sessions import services as session_services
from somaagent.errors import Kind, SomaError
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.entries import audit_entry_create, differences, who
from somaagent.tenancy.idempotency import Idempotency

from . import selectors
from .models import MissedRuns, Schedule, SessionPolicy
from .timing import timing_of

MOST_SCHEDULES = 200
NO_PROMPT = "Write what the agent is to be asked."


class Changes(TypedDict, total=False):
    """What a user may change of a schedule; what is left out stays as it is."""

    name: str
    prompt: str
    agent: str
    cron: str
    time_zone: str
    session_policy: SessionPolicy
    missed_runs: MissedRuns
    enabled: bool


def schedule_create(
    *,
    actor: Actor,
    prompt: str,
    cron: str,
    time_zone: str,
    name: str = "",
    agent: str | None = None,
    session_policy: SessionPolicy = SessionPolicy.NEW,
    missed_runs: MissedRuns = MissedRuns.RUN_ONCE,
    enabled: bool = True,
    idempotency: Idempotency | None = None,
) -> Schedule:
    """A schedule of the actor's, for the named agent or the default one."""
    mine = selectors.schedule_list(actor=actor)
    if idempotency and (existing := idempotency.find(mine)):
        return existing
    session_services.refuse_unfit(prompt, field="body.prompt", empty=NO_PROMPT)
    timing = timing_of(cron=cron, time_zone=time_zone)
    chosen = sessions.agent_get(slug=agent)
    _refuse_too_many(actor)
    try:
        with transaction.atomic():
            schedule = Schedule.objects.create(
                tenant_id=actor.tenant_id,
                user_id=actor.user_id,
                agent=chosen,
                name=name or session_services.title_of(prompt),
                prompt=prompt,
                cron=timing.cron,
                time_zone=timing.time_zone,
                session_policy=session_policy,
                missed_runs=missed_runs,
                enabled=enabled,
                next_run_at=timing.next_after(timezone.now()) if enabled else None,
                **(idempotency.columns() if idempotency else {}),
            )
            _tell(actor, "created", schedule.id, _told(schedule))
            return schedule
    except IntegrityError:
        # The same key, sent twice at once: the other one was first.
        if idempotency and (existing := idempotency.find(mine)):
            return existing
        raise


def schedule_update(*, actor: Actor, schedule_id: UUID, **changes: Unpack[Changes]) -> Schedule:
    """Change, pause or resume. A change of when, or a resumption, plans the next run from now on."""
    selectors.schedule_get(actor=actor, schedule_id=schedule_id)
    locked = Schedule.objects.select_for_update(of=("self",)).select_related("agent")
    schedule = locked.get(id=schedule_id)
    before = _told(schedule)
    if "prompt" in changes:
        session_services.refuse_unfit(changes["prompt"], field="body.prompt", empty=NO_PROMPT)
    if "agent" in changes:
        _speak_with(schedule, changes["agent"])
    for fact in ("name", "prompt", "session_policy", "missed_runs"):
        if fact in changes:
            setattr(schedule, fact, changes[fact])
    enabled = _replanned(schedule, changes)
    if "enabled" in changes:
        schedule.paused_code = schedule.paused_message = ""
    schedule.enabled = enabled
    schedule.save()
    if changed := differences(before, _told(schedule)):
        _tell(actor, "changed", schedule.id, changed)
    return schedule


def _replanned(schedule: Schedule, changes: Changes) -> bool:
    """Change when it runs, and its next run where that moves. Gives whether it is enabled from now on."""
    when = timing_of(
        cron=changes.get("cron", schedule.cron), time_zone=changes.get("time_zone", schedule.time_zone)
    )
    moved = (when.cron, when.time_zone) != (schedule.cron, schedule.time_zone)
    schedule.cron, schedule.time_zone = when.cron, when.time_zone
    enabled = changes.get("enabled", schedule.enabled)
    if enabled and (moved or not schedule.enabled):
        schedule.next_run_at = when.next_after(timezone.now())
    if not enabled:
        schedule.next_run_at = None
    return enabled


def schedule_delete(*, actor: Actor, schedule_id: UUID) -> None:
    """Delete the schedule and the record of its runs. The sessions that they made stay."""
    schedule = selectors.schedule_get(actor=actor, schedule_id=schedule_id)
    facts = _told(schedule)
    schedule.delete()
    _tell(actor, "deleted", schedule_id, facts)


def schedule_pause(*, schedule_id: UUID, code: str, message: str) -> bool:
    """Pause it with a reason. False when it was paused already."""
    enabled = Schedule.objects.filter(id=schedule_id, enabled=True)
    paused = {"enabled": False, "next_run_at": None}
    return bool(enabled.update(**paused, paused_code=code, paused_message=message[:500]))


def schedule_resume(*, schedule_id: UUID) -> bool:
    """Let it go on at its next time. False when it was not paused."""
    schedule = Schedule.objects.select_for_update().filter(id=schedule_id, enabled=False).first()
    if schedule is None:
        return False
    timing = timing_of(cron=schedule.cron, time_zone=schedule.time_zone)
    schedule.next_run_at = timing.next_after(timezone.now())
    schedule.enabled = True
    schedule.paused_code = schedule.paused_message = ""
    schedule.save(update_fields=["next_run_at", "enabled", "paused_code", "paused_message"])
    return True


def _told(schedule: Schedule) -> dict[str, Any]:
    """What the audit says of it: of its words, which are its user's, only whether they are others."""
    words = f"{schedule.name}\n{schedule.prompt}"
    return {
        "words_sha256": hashlib.sha256(words.encode()).hexdigest(),
        "agent": schedule.agent.slug if schedule.agent else None,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "session_policy": schedule.session_policy,
        "missed_runs": schedule.missed_runs,
        "enabled": schedule.enabled,
    }


def _tell(actor: Actor, what: str, schedule_id: UUID, facts: dict[str, Any]) -> None:
    audit_entry_create(
        by=who(actor), action=f"schedule.{what}", target_type="schedule", target_id=schedule_id, facts=facts
    )


def _speak_with(schedule: Schedule, agent: str) -> None:
    chosen = sessions.agent_get(slug=agent)
    if chosen.id != schedule.agent_id:
        # A session is with one agent: the next run begins another.
        schedule.agent, schedule.session = chosen, None


def _refuse_too_many(actor: Actor) -> None:
    if selectors.schedule_list(actor=actor).count() >= MOST_SCHEDULES:
        raise SomaError(
            Kind.CONFLICT,
            "schedules_too_many",
            f"A user has at most {MOST_SCHEDULES} schedules: delete one that is no longer needed.",
        )
