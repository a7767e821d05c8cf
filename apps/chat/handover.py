"""From a host that cannot to those that can: turns go to the workers by Celery."""

from __future__ import annotations

from uuid import UUID

from celery import current_app

TURN_RUN = "chat.turn_run"


def to_workers(turn_id: UUID, tenant_id: UUID) -> None:
    """Wake a worker for a queued turn. Where that fails, the scheduler's sweep finds the turn."""
    current_app.send_task(TURN_RUN, args=[str(turn_id), str(tenant_id)])
