"""The operators' list of schedules, with pause, resume and run now; and of their runs."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import action, display

from somaagent.errors import SomaError
from somaagent.tenancy.admin import ReadOnlyAdmin
from somaagent.tenancy.audit.audited import audit_by_operator

from . import runs, services
from .models import Schedule, ScheduleRun

STATES = {"enabled": "success", "paused": "warning", "stopped": "danger"}
OUTCOMES = {"submitted": "success", "skipped": "warning", "refused": "danger"}


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin):
    list_display = (
        "name", "state", "user", "agent", "cron", "time_zone", "next_run_at", "last_run_at", "paused_code",
    )  # fmt: skip
    list_filter = ("enabled", "paused_code")
    list_select_related = ("user", "agent")
    search_fields = ("id__exact", "name", "prompt", "user__username", "agent__slug")
    actions = ("pause", "resume", "run")
    fieldsets = (
        (None, {"fields": ("id", "name", "user", "agent", "prompt")}),
        ("When", {"fields": (("cron", "time_zone"), ("next_run_at", "last_run_at"), "missed_runs")}),
        ("Where", {"fields": ("session_policy", "session", "last_turn")}),
        ("State", {"fields": ("enabled", "paused_code", "paused_message", "created_at")}),
    )

    @display(description="State", label=STATES)
    def state(self, schedule: Schedule) -> str:
        if schedule.enabled:
            return "enabled"
        return "stopped" if schedule.paused_code else "paused"

    @action(description="Pause the chosen schedules")
    def pause(self, request: HttpRequest, schedules: QuerySet[Schedule]) -> None:
        def paused(schedule_id: UUID) -> object:
            return services.schedule_pause(
                schedule_id=schedule_id,
                code="paused_by_operator",
                message="An operator paused this schedule.",
            )

        _each(request, schedules, paused, "paused")

    @action(description="Resume the chosen schedules")
    def resume(self, request: HttpRequest, schedules: QuerySet[Schedule]) -> None:
        _each(request, schedules, lambda found: services.schedule_resume(schedule_id=found), "resumed")

    @action(description="Run the chosen schedules now")
    def run(self, request: HttpRequest, schedules: QuerySet[Schedule]) -> None:
        _each(request, schedules, lambda found: runs.run_for_its_user(schedule_id=found), "begun")


def _each(
    request: HttpRequest, schedules: QuerySet[Schedule], act: Callable[[UUID], object], done: str
) -> None:
    """Do it to each, and tell of how many it was done, and of each that it could not be done to."""
    count = 0
    for schedule_id, name in list(schedules.values_list("id", "name")):
        try:
            with transaction.atomic():
                if act(schedule_id):
                    count += 1
                    audit_by_operator(
                        request,
                        action=f"schedule.{done}",
                        target_type="schedule",
                        target_id=schedule_id,
                        facts={},
                    )
        except SomaError as error:
            messages.error(request, f"{name}: {error.message}")
    messages.success(request, f"{done.capitalize()}: {count}.")


@admin.register(ScheduleRun)
class ScheduleRunAdmin(ReadOnlyAdmin):
    list_display = ("id", "schedule", "outcome_label", "reason_code", "planned_at", "created_at", "turn")
    list_filter = ("outcome", "reason_code")
    list_select_related = ("schedule", "turn")
    search_fields = ("id__exact", "schedule__name", "turn__id__exact")
    date_hierarchy = "created_at"
    fields = (
        "id", "schedule", "outcome", "planned_at", "created_at", "turn", "reason_code", "reason_message",
    )  # fmt: skip

    @display(description="Outcome", ordering="outcome", label=OUTCOMES)
    def outcome_label(self, run: ScheduleRun) -> str:
        return run.outcome
