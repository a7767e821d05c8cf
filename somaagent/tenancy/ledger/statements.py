"""Writes of the ledger, as statements (see ``somaagent.tenancy.scripts``)."""

from __future__ import annotations

from typing import Any

from somaagent.money import decimal_text
from somaagent.tenancy.outbox.statements import Event, event
from somaagent.tenancy.scripts import Statement, inserted

from .models import UsageRecord

_THERE = "SELECT FROM tenancy_usagerecord WHERE run_id = %(run)s::uuid AND step = %(step)s::smallint"


def recorded(row: UsageRecord) -> tuple[Event, Statement]:
    """The event of a step, which has the row's id, and what writes the row down, once, by whichever host
    comes first.

    To be sent ``together``: the event is for a row that is not there yet.
    """
    record = inserted(row, once="run_id, step")  # first: it sets the moment that the event tells
    # Of two at the same time that write the same row, its id lets one: a step that can be written anew, with
    # another id, is its turn's, which whoever writes holds.
    told = event(
        tenant_id=row.tenant_id,
        kind="usage.recorded",
        subject=row.run_id,
        data=_data(row),
        event_id=row.id,
        unless=Statement(_THERE, {"run": row.run_id, "step": row.step}),
    )
    return told, record


def _data(row: UsageRecord) -> dict[str, Any]:
    """As ``outbox.catalogue.UsageRecorded`` says."""
    return {
        "usage_id": row.id,
        "recorded_at": row.created_at,
        "source": row.source,
        "run_id": row.run_id,
        "step": row.step,
        "user_id": row.user_id,
        "api_key_id": row.api_key_id,
        "agent_id": row.agent_id,
        "agent": row.agent,
        "profile": row.profile,
        "input_tokens": row.input_tokens,
        "cached_tokens": row.cached_tokens,
        "output_tokens": row.output_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "input_price": decimal_text(row.input_price),
        "cached_price": decimal_text(row.cached_price),
        "output_price": decimal_text(row.output_price),
        "reasoning_price": decimal_text(row.reasoning_price),
        "cost": decimal_text(row.cost),
        "estimated": row.estimated,
    }
