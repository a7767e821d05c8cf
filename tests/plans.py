"""What statements read, by PostgreSQL's own account."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from django.db import connection


def rows_read(statements: Iterable[str], tables: Collection[str]) -> int:
    """How many rows of these tables the statements touch, those that a filter drops included."""
    read = 0
    with connection.cursor() as cursor:
        for statement in statements:
            if any(table in statement for table in tables):
                cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, FORMAT JSON) {statement}")
                read += _rows_of(cursor.fetchone()[0][0]["Plan"], tables)
    return read


def _rows_of(plan: dict[str, Any], tables: Collection[str]) -> int:
    below = sum(_rows_of(part, tables) for part in plan.get("Plans", []))
    if plan.get("Relation Name") not in tables:
        return below
    dropped = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    return int(below + (plan["Actual Rows"] + dropped) * plan["Actual Loops"])
