"""The health record: what the orchestrator knows of every service, in one small file.

The orchestrator writes it on each change and at each tick; everybody else reads it. Readers never ask a
service, so an answer about health costs a file read and cannot hang on a dead dependency.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

FILE_NAME = "health.json"
STALE_AFTER_TICKS = 3


class State(StrEnum):
    """Where a service is in its life. UP (long-running) and DONE (one-shot) are the good ones."""

    WAITING = "waiting"
    STARTING = "starting"
    UP = "up"
    DONE = "done"
    DOWN = "down"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Status(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


GOOD = frozenset({State.UP, State.DONE})


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """One service: ``since`` is when it entered its state (ISO 8601), ``latency_ms`` its last check's."""

    state: State
    critical: bool
    since: str
    restarts: int = 0
    last_error: str | None = None
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """Everything at one moment. ``tick_seconds`` is how often the writer promises to write again."""

    mode: str
    version: str
    updated: str
    services: Mapping[str, ServiceHealth] = field(default_factory=dict)
    tick_seconds: float = 2.0

    @property
    def status(self) -> Status:
        """Unhealthy when a critical service is not up, degraded when another one is not."""
        missing = [service for service in self.services.values() if service.state not in GOOD]
        if any(service.critical for service in missing):
            return Status.UNHEALTHY
        return Status.DEGRADED if missing else Status.HEALTHY

    def body(self) -> dict[str, Any]:
        """The JSON of ``/api/v1/health``."""
        return {
            "status": self.status.value,
            "mode": self.mode,
            "version": self.version,
            "updated": self.updated,
            "services": {name: asdict(service) for name, service in self.services.items()},
        }

    def reasons(self) -> list[str]:
        """A sentence for each critical service that is not up."""
        return [
            f"{name} is {service.state.value}" + (f": {service.last_error}" if service.last_error else "")
            for name, service in self.services.items()
            if service.critical and service.state not in GOOD
        ]


def now() -> str:
    """The current time as the record writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def store(run_dir: Path, record: HealthRecord) -> None:
    """Replace the record in one step: a reader sees the old one or the new one, never half of one."""
    target = run_dir / FILE_NAME
    temporary = run_dir / f".{FILE_NAME}.{os.getpid()}"
    content = record.body() | {"tick_seconds": record.tick_seconds}
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(content, stream)
    temporary.replace(target)


def forget(run_dir: Path) -> None:
    """Take away the record of an earlier start, which would be believed until it is too old."""
    (run_dir / FILE_NAME).unlink(missing_ok=True)


def load(run_dir: Path) -> HealthRecord | None:
    """The record as it was written last, however old; None when there is none that can be read."""
    try:
        return decode((run_dir / FILE_NAME).read_bytes())
    except FileNotFoundError:
        return None


def decode(content: bytes) -> HealthRecord | None:
    """None for what is not a health record (a foreign or damaged file)."""
    try:
        raw = json.loads(content)
        services = {
            str(name): ServiceHealth(**(facts | {"state": State(facts["state"])}))
            for name, facts in raw["services"].items()
        }
        return HealthRecord(
            mode=raw["mode"],
            version=raw["version"],
            updated=raw["updated"],
            services=services,
            tick_seconds=float(raw["tick_seconds"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def age_seconds(record: HealthRecord) -> float:
    """How long ago the record was written."""
    return (datetime.now(UTC) - datetime.fromisoformat(record.updated)).total_seconds()


def judged(record: HealthRecord | None, *, mode: str, version: str) -> HealthRecord:
    """The record as a reader may trust it: a missing or stale one says that the orchestrator is down."""
    if record is None:
        return _orchestrator_down("It has left no health record.", now(), {}, mode, version)
    age = age_seconds(record)
    if age > STALE_AFTER_TICKS * record.tick_seconds:
        reason = f"It wrote its health record last {age:.0f} s ago."
        return _orchestrator_down(reason, record.updated, record.services, record.mode, record.version)
    return record


def _orchestrator_down(
    reason: str, since: str, services: Mapping[str, ServiceHealth], mode: str, version: str
) -> HealthRecord:
    orchestrator = ServiceHealth(state=State.DOWN, critical=True, since=since, last_error=reason)
    return HealthRecord(
        mode=mode, version=version, updated=now(), services={**services, "orchestrator": orchestrator}
    )
