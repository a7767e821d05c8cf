"""Writes of the ledger, as statements (see ``somaagent.tenancy.scripts``)."""

from __future__ import annotations

from somaagent.tenancy.scripts import Statement, inserted

from .models import UsageRecord


def recorded(row: UsageRecord) -> Statement:
    """Writes a step down, once: by whichever host comes first."""
    return inserted(row, once="run_id, step")
