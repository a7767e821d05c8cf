"""Schedules and their runs."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from somaagent.tenancy.fields import IdempotentCreate, TenantOwned


class SessionPolicy(models.TextChoices):
    """Where the runs of a schedule speak: each in a session of its own, or all in one that goes on."""

    NEW = "new", "a new session each run"
    SAME = "same", "one session that goes on"


class MissedRuns(models.TextChoices):
    """What becomes of runs that were due while the platform was off: one for them all, or none."""

    RUN_ONCE = "run_once", "run once"
    SKIP = "skip", "skip"


class RunOutcome(models.TextChoices):
    """``refused``: the run could not be, and none after it could: the schedule was paused."""

    SUBMITTED = "submitted"
    SKIPPED = "skipped"
    REFUSED = "refused"


class Schedule(TenantOwned, IdempotentCreate):
    """A prompt of a user to an agent, at the times of a cron expression in a time zone.

    ``next_run_at`` is set while it is enabled, and null while it is paused. ``paused_code`` says why the
    platform paused it, and is empty where its user did. ``session`` is the one that goes on, once it began.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey("agent_sessions.Agent", on_delete=models.SET_NULL, null=True, related_name="+")
    name = models.CharField(max_length=200)
    prompt = models.TextField()
    cron = models.CharField("cron expression", max_length=100)
    time_zone = models.CharField(max_length=64, help_text="A name of the IANA database: Europe/Paris.")
    session_policy = models.CharField(max_length=8, choices=SessionPolicy.choices, default=SessionPolicy.NEW)
    missed_runs = models.CharField(max_length=8, choices=MissedRuns.choices, default=MissedRuns.RUN_ONCE)
    session = models.ForeignKey(
        "agent_sessions.Session", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    enabled = models.BooleanField(default=True)
    paused_code = models.CharField(max_length=64, blank=True)
    paused_message = models.CharField(max_length=500, blank=True)
    next_run_at = models.DateTimeField(null=True, blank=True)
    last_run_at = models.DateTimeField(null=True, blank=True)
    last_turn = models.ForeignKey(
        "chat.Turn", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "user", "-id"], name="schedule_of_user"),
            models.Index(
                fields=["tenant", "next_run_at"],
                condition=models.Q(enabled=True),
                name="schedule_due",
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "user", "idempotency_key"], name="schedule_created_once"
            ),
            models.CheckConstraint(
                condition=models.Q(enabled=models.Q(next_run_at__isnull=False)),
                name="schedule_enabled_has_next_run",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ScheduleRun(TenantOwned, IdempotentCreate):
    """One time that a schedule ran, or should have: when that was planned (null: it was asked for by hand),
    and the turn that came of it, or why there is none.
    """

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="runs")
    planned_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=16, choices=RunOutcome.choices)
    reason_code = models.CharField(max_length=64, blank=True)
    reason_message = models.CharField(max_length=500, blank=True)
    turn = models.ForeignKey("chat.Turn", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["schedule", "-id"], name="run_of_schedule")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["schedule", "planned_at"], name="schedule_run_once"),
            models.UniqueConstraint(fields=["schedule", "idempotency_key"], name="schedule_run_asked_once"),
        ]

    def __str__(self) -> str:
        return f"Run {self.id} ({self.outcome})"
