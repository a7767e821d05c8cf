"""What a migration says to change indexes of tables that are written meanwhile; it is not ``atomic``."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.migrations.operations import RunSQL


def without_index(index: str, table: str, column: str) -> RunSQL:
    """Takes an index away that nobody needs beside others. May be run again."""
    return RunSQL(
        f'DROP INDEX CONCURRENTLY IF EXISTS "{index}"',
        f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{index}" ON {table} ({column})',
    )


def unique_anew(constraint: str, table: str, *, now: Sequence[str], before: Sequence[str]) -> RunSQL:
    """The same constraint, its columns in another order: by an index that is made first. May be run again."""
    return RunSQL([*_unique(constraint, table, now)], [*_unique(constraint, table, before)])


def _unique(constraint: str, table: str, columns: Sequence[str]) -> list[str]:
    index = f"{constraint}_new"
    return [
        f"DROP INDEX CONCURRENTLY IF EXISTS {index}",
        f"CREATE UNIQUE INDEX CONCURRENTLY {index} ON {table} ({', '.join(columns)})",
        f"""
        ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {constraint},
        ADD CONSTRAINT {constraint} UNIQUE USING INDEX {index}
        """,
    ]
