"""``/api/v1/schedules``: make, change, pause, resume, delete, run now, preview; and their runs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from somaagent.problems import PROBLEMS, Problem
from somaagent.web.idempotency import IdempotencyKey, idempotency_of, idempotency_of_text
from somaagent.web.pagination import Page, PageQuery, page_of
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from . import runs, selectors, services
from .schemas import ComingRun, Preview, PreviewQuery, RunOut, ScheduleIn, ScheduleOut, SchedulePatch
from .timing import timing_of

router = Router(tags=["schedules"])
router.add_decorator(in_tenant_of_actor)
PREVIEWED = 5


@router.get("", response={200: Page[ScheduleOut], **PROBLEMS})
def list_schedules(request: HttpRequest, page: Query[PageQuery]) -> Any:
    """The caller's schedules, newest first."""
    return page_of(selectors.schedule_list(actor=actor_of(request)), page)


@router.post("", response={201: ScheduleOut, 409: Problem, **PROBLEMS})
def create_schedule(request: HttpRequest, body: ScheduleIn, idempotency_key: IdempotencyKey = None) -> Any:
    """Have a prompt put to an agent again and again. Each run is an ordinary turn of the caller's."""
    schedule = services.schedule_create(
        actor=actor_of(request), **body.model_dump(), idempotency=idempotency_of(idempotency_key, body)
    )
    return Status(201, schedule)


@router.get("/preview", response={200: Preview, **PROBLEMS})
def preview_schedule(request: HttpRequest, query: Query[PreviewQuery]) -> Any:
    """When a schedule with this expression would run next: five times, or as many as there are."""
    timing = timing_of(cron=query.cron, time_zone=query.time_zone, place="query")
    coming = timing.coming(PREVIEWED, after=timezone.now())
    return Preview(
        cron=timing.cron, time_zone=timing.time_zone, runs=[ComingRun.of(local) for local in coming]
    )


@router.get("/{uuid:schedule_id}", response={200: ScheduleOut, **PROBLEMS})
def read_schedule(request: HttpRequest, schedule_id: UUID) -> Any:
    return selectors.schedule_get(actor=actor_of(request), schedule_id=schedule_id)


@router.patch("/{uuid:schedule_id}", response={200: ScheduleOut, **PROBLEMS})
def update_schedule(request: HttpRequest, schedule_id: UUID, body: SchedulePatch) -> Any:
    """Change it; pause it (``enabled: false``) or resume it, from its next time on."""
    return services.schedule_update(actor=actor_of(request), schedule_id=schedule_id, **body.changes())


@router.delete("/{uuid:schedule_id}", response={204: None, **PROBLEMS})
def delete_schedule(request: HttpRequest, schedule_id: UUID) -> Any:
    """Delete the schedule and the record of its runs. Sessions that they made stay."""
    services.schedule_delete(actor=actor_of(request), schedule_id=schedule_id)
    return Status(204, None)


@router.get("/{uuid:schedule_id}/runs", response={200: Page[RunOut], **PROBLEMS})
def list_runs(request: HttpRequest, schedule_id: UUID, page: Query[PageQuery]) -> Any:
    """What became of each time that it was due, newest first; ``turn_id`` leads to the answer."""
    return page_of(selectors.run_list(actor=actor_of(request), schedule_id=schedule_id), page)


@router.post("/{uuid:schedule_id}/runs", response={202: RunOut, 402: Problem, 409: Problem, **PROBLEMS})
def run_schedule(request: HttpRequest, schedule_id: UUID, idempotency_key: IdempotencyKey = None) -> Any:
    """Run it once more, now, paused or not. What is planned stays planned."""
    run = runs.run_now(
        actor=actor_of(request),
        schedule_id=schedule_id,
        idempotency=idempotency_of_text(idempotency_key, f"run {schedule_id}"),
    )
    return Status(202, run)
