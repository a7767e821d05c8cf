"""Writes of the ledger, as statements (see ``somaagent.tenancy.scripts``)."""

from __future__ import annotations

import orjson

from somaagent.money import decimal_text
from somaagent.tenancy.outbox.statements import INSERT
from somaagent.tenancy.scripts import Statement, inserted

from .models import UsageRecord

# Once for a step, as the row. Of two at the same time that write the same row, its id lets one: a step that
# can be written anew, with another id, is its turn's, which whoever writes holds.
_TOLD = f"""
{INSERT}
SELECT %(id)s::uuid, clock_timestamp(), %(tenant)s::uuid, 'usage.recorded', %(run)s::text, %(data)s::jsonb
WHERE NOT EXISTS (
    SELECT FROM tenancy_usagerecord WHERE run_id = %(run)s::uuid AND step = %(step)s::smallint
)
ON CONFLICT (id) DO NOTHING
"""  # noqa: S608 columns of ours


def recorded(row: UsageRecord) -> tuple[Statement, Statement]:
    """Writes a step down, once, by whichever host comes first, and the event of it, which has the row's id.

    To be sent ``together``: the event is for a row that is not there yet.
    """
    insert = inserted(row, once="run_id, step")
    facts = {"id": row.id, "tenant": row.tenant_id, "run": row.run_id, "step": row.step}
    return Statement(_TOLD, facts | {"data": _data(row)}), insert


def _data(row: UsageRecord) -> str:
    """As ``outbox.catalogue.UsageRecorded`` says."""
    told = {
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
    return orjson.dumps(told).decode()
