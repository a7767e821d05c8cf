"""Health over HTTP, answered from the orchestrator's record: no database, no waiting on a dead dependency."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from ninja import Router, Schema, Status
from pydantic import Field

import somaagent
from somaagent.observability.health import FILE_NAME, HealthRecord, judged, load
from somaagent.observability.health import Status as Overall

router = Router(tags=["health"])


class ServiceHealth(Schema):
    state: Literal[
        "waiting", "starting", "up", "done", "down", "restarting", "failed", "stopping", "stopped"
    ] = Field(description="`up` and `done` are the good ones.")
    critical: bool = Field(description="Whether SomaAgent is of use without it.")
    since: str = Field(description="When it entered this state (ISO 8601, UTC).")
    restarts: int = Field(ge=0)
    last_error: str | None
    latency_ms: Annotated[float, Field(ge=0)] | None = Field(description="How long its last check took.")


class Health(Schema):
    status: Literal["healthy", "degraded", "unhealthy"]
    mode: str
    version: str
    updated: str = Field(description="When this was recorded (ISO 8601, UTC).")
    services: dict[str, ServiceHealth]


class RecordCache:
    """Reads the record again only when its file has changed."""

    def __init__(self) -> None:
        self._seen: tuple[Path, int, int] | None = None
        self._record: HealthRecord | None = None

    def current(self, run_dir: Path) -> HealthRecord:
        """The record as it may be trusted now; see ``somaagent.observability.health.judged``."""
        try:
            facts = (run_dir / FILE_NAME).stat()
        except FileNotFoundError:
            self._seen, self._record = None, None
        else:
            seen = (run_dir, facts.st_mtime_ns, facts.st_size)
            if seen != self._seen:
                self._record, self._seen = load(run_dir), seen
        return judged(self._record, mode=settings.DEPLOYMENT_MODE, version=somaagent.__version__)


_cache = RecordCache()


def current() -> HealthRecord:
    """The health of the whole installation, as the orchestrator recorded it last."""
    return _cache.current(settings.RUN_DIR)


def status_code(record: HealthRecord) -> int:
    """503 only when a critical service is down."""
    return 503 if record.status is Overall.UNHEALTHY else 200


@router.get("/health", response={200: Health, 503: Health}, auth=None, summary="Health of every service")
async def read_health(request: HttpRequest) -> Status[dict[str, Any]]:
    """The state of each service. 503 only when a critical one is down."""
    record = current()
    return Status(status_code(record), record.body())


async def health(request: HttpRequest) -> HttpResponse:
    """``/v1/health``: the same body and status as ``/api/v1/health``."""
    record = current()
    return _never_cached(JsonResponse(record.body(), status=status_code(record)))


async def healthz(request: HttpRequest) -> HttpResponse:
    """``/healthz``: this process answers; nothing is said of any other."""
    return _never_cached(HttpResponse("ok", content_type="text/plain"))


async def readyz(request: HttpRequest) -> HttpResponse:
    """``/readyz``: 200 when migrations are applied and critical services up, else 503 and why."""
    reasons = current().reasons()
    body = {"ready": not reasons, "reasons": reasons}
    return _never_cached(JsonResponse(body, status=503 if reasons else 200))


def _never_cached(response: HttpResponse) -> HttpResponse:
    response.headers["Cache-Control"] = "no-store"
    return response
