"""How far the publisher is behind, for whoever looks: the orchestrator tells the metrics."""

from __future__ import annotations

from django.db import connection

from .lag import LAG, Lag, lag_read


def outbox_lag() -> Lag:
    """Over all tenants."""
    with connection.cursor() as cursor:
        cursor.execute(LAG)
        return lag_read(cursor.fetchone() or (0, None))
