"""How far the publisher is behind, over all tenants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from somaagent.observability import metrics

LAG = "SELECT waiting, oldest FROM tenancy_outbox_lag()"
# Behind by more than this, health is degraded.
MOST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Lag:
    """``waiting`` is counted up to 10 000; ``seconds`` is the age of the oldest event that waits."""

    waiting: int
    seconds: float


def lag_of(row: tuple[Any, ...]) -> Lag:
    """Out of the row of ``LAG``; tells the metrics."""
    lag = lag_read(row)
    metrics.OUTBOX_WAITING.set(lag.waiting)
    metrics.OUTBOX_LAG_SECONDS.set(lag.seconds)
    return lag


def lag_read(row: tuple[Any, ...]) -> Lag:
    """Out of the row of ``LAG``, and nothing else."""
    waiting, oldest = row
    seconds = max(0.0, (datetime.now(UTC) - oldest).total_seconds()) if oldest is not None else 0.0
    return Lag(waiting, seconds)
