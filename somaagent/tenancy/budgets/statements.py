"""Budgets as statements (see ``somaagent.tenancy.scripts``): look, reserve, settle, free.

Whoever reserves holds the counts of the budgets that apply, in the order of their ids, until the
transaction's end; so the sum of what others reserved is the whole one. A step may begin while anything is
left, so that what is spent ends above a budget by one step at most. ADR 20 says why.

First of all it holds the budgets themselves, as whoever deletes them does (``services.budgets_delete``): a
budget that is gone binds nobody, and none goes while something is counted for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from somaagent.tenancy.ledger.models import UsageRecord
from somaagent.tenancy.ledger.statements import recorded
from somaagent.tenancy.outbox.statements import told
from somaagent.tenancy.payers import Payer
from somaagent.tenancy.scripts import Row, Script, Statement

from .standing import Standing

_APPLIES = """(
    budget.covers = 'tenant'
    OR budget.covers = 'user' AND budget.subject_id = %(user)s
    OR budget.covers = 'api_key' AND budget.subject_id = %(key)s
    OR budget.covers = 'agent' AND budget.subject_id = %(agent)s
)"""
_STARTS = "(date_trunc(budget.period, {at} AT TIME ZONE 'UTC'))::date"
_NOW = _STARTS.format(at="now()")

_STANDING = f"""
SELECT budget.name, budget.covers, budget.subject_id, budget.measure, budget.period, budget.amount,
    COALESCE(count.spent, 0), COALESCE((
        SELECT sum(reservation.amount) FROM tenancy_reservation reservation
        WHERE reservation.budget_id = budget.id AND reservation.expires_at > now()
    ), 0)
FROM tenancy_budget budget
LEFT JOIN tenancy_budgetcount count ON count.budget_id = budget.id AND count.starts = {_NOW}
WHERE {{which}} ORDER BY budget.id
"""  # noqa: S608 conditions of ours

_KEPT = f"SELECT id FROM tenancy_budget budget WHERE {_APPLIES} ORDER BY id FOR KEY SHARE"  # noqa: S608 as above

_HELD = f"""
INSERT INTO tenancy_budgetcount AS count (id, created_at, tenant_id, budget_id, starts, spent)
SELECT uuidv7(), now(), budget.tenant_id, budget.id, {_NOW}, 0
FROM tenancy_budget budget WHERE {_APPLIES} ORDER BY budget.id
ON CONFLICT (budget_id, starts) DO UPDATE SET spent = count.spent
"""  # noqa: S608 as above

_RESERVED = f"""
WITH room AS (
    SELECT budget.id, budget.tenant_id, budget.name, budget.covers, budget.subject_id, budget.measure,
        budget.period, budget.amount, count.spent, COALESCE(others.reserved, 0) AS reserved,
        CASE budget.measure WHEN 'tokens' THEN %(tokens)s::numeric ELSE %(money)s::numeric END AS needed
    FROM tenancy_budget budget
    JOIN tenancy_budgetcount count ON count.budget_id = budget.id AND count.starts = {_NOW}
    LEFT JOIN LATERAL (
        SELECT sum(reservation.amount) AS reserved FROM tenancy_reservation reservation
        WHERE reservation.budget_id = budget.id AND reservation.run_id <> %(run)s
            AND reservation.expires_at > now()
    ) others ON true
    WHERE {_APPLIES}
), refused AS (
    SELECT * FROM room WHERE spent + reserved >= amount OR needed IS NULL
), made AS (
    INSERT INTO tenancy_reservation AS mine (id, created_at, tenant_id, budget_id, run_id, amount, expires_at)
    SELECT uuidv7(), now(), room.tenant_id, room.id, %(run)s, room.needed,
        now() + %(seconds)s * interval '1 second'
    FROM room WHERE NOT EXISTS (SELECT FROM refused)
    ON CONFLICT (budget_id, run_id) DO UPDATE SET expires_at = EXCLUDED.expires_at,
        amount = EXCLUDED.amount + CASE WHEN mine.expires_at > now() THEN mine.amount ELSE 0 END
), gone AS (
    DELETE FROM tenancy_reservation WHERE id IN (
        SELECT id FROM tenancy_reservation
        WHERE budget_id IN (SELECT id FROM room) AND run_id <> %(run)s AND expires_at <= now()
        FOR UPDATE SKIP LOCKED
    )
)
SELECT name, covers, subject_id, measure, period, amount, spent, reserved, needed IS NULL FROM refused
"""  # noqa: S608 as above

_SETTLED = f"""
WITH told AS ({{told}}), recorded AS ({{record}} RETURNING id), freed AS (
    DELETE FROM tenancy_reservation WHERE run_id = %(run)s RETURNING budget_id, amount
)
INSERT INTO tenancy_budgetcount AS count (id, created_at, tenant_id, budget_id, starts, spent)
SELECT uuidv7(), now(), budget.tenant_id, budget.id, {_STARTS.format(at="%(at)s::timestamptz")}, COALESCE(
    CASE budget.measure WHEN 'tokens' THEN %(tokens)s::numeric ELSE %(money)s::numeric END, freed.amount, 0)
FROM tenancy_budget budget LEFT JOIN freed ON freed.budget_id = budget.id
WHERE {_APPLIES} AND EXISTS (SELECT FROM recorded) ORDER BY budget.id
ON CONFLICT (budget_id, starts) DO UPDATE SET spent = count.spent + EXCLUDED.spent
"""  # noqa: S608 as above


def standing(*, user_id: UUID, key_id: UUID | None) -> Statement:
    """How the budgets stand that may apply: the agent's are among those of all agents (see ``applying``)."""
    which = _APPLIES.replace(
        "budget.covers = 'agent' AND budget.subject_id = %(agent)s", "budget.covers = 'agent'"
    )
    return Statement(_STANDING.format(which=which), {"user": user_id, "key": key_id})


def some() -> Statement:
    """Whether the tenant has budgets at all: most have none."""
    return Statement("SELECT EXISTS (SELECT FROM tenancy_budget)", {})


def applied(
    found: Sequence[Row], *, user_id: UUID, key_id: UUID | None, agent_id: UUID | None
) -> Script[list[Standing]]:
    """How those stand that apply. ``found``: the rows of ``some``."""
    if not found[0][0]:
        return []
    (rows,) = yield [standing(user_id=user_id, key_id=key_id)]
    return applying(rows, agent_id)


def every() -> Statement:
    """How all budgets of the tenant stand."""
    return Statement(_STANDING.format(which="true"), {})


def applying(rows: Sequence[tuple[Any, ...]], agent_id: UUID | None) -> list[Standing]:
    """Out of the rows of ``standing``: what applies where that agent answers."""
    found = [Standing(*row) for row in rows]
    return [one for one in found if one.covers != "agent" or one.subject_id == agent_id]


def reserved(payer: Payer, *, tokens: int, money: Decimal | None, seconds: float) -> list[Statement]:
    """Reserves for a run's next step in all budgets that apply, or in none. Gives the rows of ``Standing`` of
    those that are used up, and whether money is asked for that nobody can tell (``money`` is None).

    What the run has reserved already is added to: its step asks its model again.
    """
    facts = {**_subjects(payer), "run": payer.run_id, "tokens": tokens, "money": money, "seconds": seconds}
    return [_kept(payer), Statement(_HELD, facts), Statement(_RESERVED, facts)]


def settled(rows: Sequence[UsageRecord], payer: Payer) -> list[Statement]:
    """Writes steps of one payer down in the ledger and, those that were not there, their events and in the
    budgets; their reservations end.

    Where a server counted nothing, a budget counts what was reserved.
    """
    return [_kept(payer), *(_settled(row, payer) for row in rows)] if rows else []


def _kept(payer: Payer) -> Statement:
    return Statement(_KEPT, _subjects(payer))


def _settled(row: UsageRecord, payer: Payer) -> Statement:
    event, record = recorded(row)
    facts = {
        **_subjects(payer),
        "run": payer.run_id,
        "at": record.parameters["created_at"],
        "tokens": row.input_tokens + row.output_tokens or None,
        "money": row.cost,
    }
    ledger, telling = _named(record, "ledger"), _named(told(event), "event")
    sql = _SETTLED.replace("{record}", ledger.sql).replace("{told}", telling.sql)
    return Statement(sql, {**ledger.parameters, **telling.parameters, **facts})


def _named(write: Statement, prefix: str) -> Statement:
    """The same, with other names for its parameters: to be a part of another statement."""
    own = {name: f"{prefix}_{name}" for name in write.parameters}
    sql = write.sql % {name: f"%({new})s" for name, new in own.items()}
    return Statement(sql, {own[name]: value for name, value in write.parameters.items()})


def freed(run_id: UUID) -> Statement:
    """A run's step came to nothing, or its run is over."""
    return Statement("DELETE FROM tenancy_reservation WHERE run_id = %(run)s", {"run": run_id})


def renewed(run_ids: Sequence[UUID], seconds: float) -> Statement:
    """Moves the end of runs' reservations on: their host is alive."""
    sql = """
        UPDATE tenancy_reservation SET expires_at = now() + %(seconds)s * interval '1 second'
        WHERE run_id = ANY(%(runs)s)
    """
    return Statement(sql, {"runs": list(run_ids), "seconds": seconds})


def _subjects(payer: Payer) -> dict[str, Any]:
    return {"user": payer.user_id, "key": payer.key_id, "agent": payer.agent_id}
