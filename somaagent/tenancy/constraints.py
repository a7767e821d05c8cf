"""What a migration says to have the database check less, and to check it again on the way back.

Each statement is a transaction of its own (``atomic = False``): what is checked again is looked through
without keeping anybody from writing.
"""

from __future__ import annotations

from django.db.migrations.operations import RunSQL


def without_sign_check(table: str, column: str) -> RunSQL:
    """Takes what Django adds to a ``Positive…Field`` away."""
    return _without(table, f"{table}_{column}_check", f'CHECK ("{column}" >= 0)')


def without_reference(table: str, column: str, referred: str, name: str) -> RunSQL:
    """Takes a foreign key to ``referred`` away, which Django calls ``name``."""
    key = f'FOREIGN KEY ("{column}") REFERENCES "{referred}" (id) DEFERRABLE INITIALLY DEFERRED'
    return _without(table, name, key)


def _without(table: str, name: str, constraint: str) -> RunSQL:
    gone = f'ALTER TABLE "{table}" DROP CONSTRAINT IF EXISTS "{name}"'
    return RunSQL(
        sql=gone,
        reverse_sql=[
            gone,
            f'ALTER TABLE "{table}" ADD CONSTRAINT "{name}" {constraint} NOT VALID',
            f'ALTER TABLE "{table}" VALIDATE CONSTRAINT "{name}"',
        ],
    )
