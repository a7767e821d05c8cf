"""What the admin's first page shows. Read inside the operator's tenant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from apps.chat import selectors as chat
from apps.sessions import selectors as sessions
from somaagent.observability.health import ServiceHealth, Status
from somaagent.web import health


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Counts of the operator's tenant, and the state of every service."""

    sessions: int
    agents: int
    turns: dict[str, int]
    status: Status
    services: list[tuple[str, ServiceHealth]]


def dashboard() -> Dashboard:
    record = health.current()
    return Dashboard(
        sessions=sessions.session_count(),
        agents=sessions.agent_list().count(),
        turns=chat.turn_states(since=timezone.now() - timedelta(days=1)),
        status=record.status,
        services=list(record.services.items()),
    )
