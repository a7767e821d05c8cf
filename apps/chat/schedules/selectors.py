"""Reads on schedules. All run inside the tenant's scope."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from somaagent.errors import not_found
from somaagent.tenancy.actor import Actor

from .models import Schedule, ScheduleRun

if TYPE_CHECKING:
    from django.db.models import QuerySet


def schedule_list(*, actor: Actor) -> QuerySet[Schedule]:
    """The actor's schedules."""
    return Schedule.objects.filter(user_id=actor.user_id).select_related("agent")


def schedule_get(*, actor: Actor, schedule_id: UUID) -> Schedule:
    schedule = schedule_list(actor=actor).filter(id=schedule_id).first()
    if schedule is None:
        raise not_found("schedule")
    return schedule


def run_list(*, actor: Actor, schedule_id: UUID) -> QuerySet[ScheduleRun]:
    """The runs of one of the actor's schedules."""
    schedule = schedule_get(actor=actor, schedule_id=schedule_id)
    return ScheduleRun.objects.filter(schedule=schedule).select_related("turn")


def schedules_due(*, now: datetime, most: int) -> list[tuple[UUID, datetime]]:
    """Those of the tenant whose time has come, longest overdue first, and the time that was planned."""
    due = Schedule.objects.filter(enabled=True, next_run_at__lte=now).order_by("next_run_at")
    return [
        (schedule_id, planned)
        for schedule_id, planned in due.values_list("id", "next_run_at")[:most]
        if planned is not None
    ]
