"""What a migration says to have the database check less, and to check it again on the way back.

Each statement is a transaction of its own (``atomic = False``). A constraint comes and goes under a lock that
everybody waits for who uses its table; a foreign key under two, which a transaction that is under way may
want in another order. So the lock is waited for briefly and asked for again: nobody waits long, and nobody is
in a deadlock (``lock_timeout`` is far below ``deadlock_timeout``). What is checked again is looked through
without keeping anybody from writing.
"""

from __future__ import annotations

from django.db.migrations.operations import RunSQL

_PATIENTLY = """
DO $patiently$
BEGIN
    PERFORM set_config('lock_timeout', '100ms', true);
    FOR attempt IN 1..600 LOOP
        BEGIN
            {change};
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.05 + random() * 0.1);
        END;
    END LOOP;
    RAISE lock_not_available USING MESSAGE = 'The table is never free: migrate when less runs.';
END
$patiently$
"""


def without_sign_check(table: str, column: str) -> RunSQL:
    """Takes what Django adds to a ``Positive…Field`` away."""
    return _without(table, f"{table}_{column}_check", f'CHECK ("{column}" >= 0)')


def without_reference(table: str, column: str, referred: str, name: str) -> RunSQL:
    """Takes a foreign key to ``referred`` away, which Django calls ``name``."""
    key = f'FOREIGN KEY ("{column}") REFERENCES "{referred}" (id) DEFERRABLE INITIALLY DEFERRED'
    return _without(table, name, key)


def _without(table: str, name: str, constraint: str) -> RunSQL:
    gone = f'ALTER TABLE "{table}" DROP CONSTRAINT IF EXISTS "{name}"'
    back = f'{gone}, ADD CONSTRAINT "{name}" {constraint} NOT VALID'
    return RunSQL(
        sql=_PATIENTLY.format(change=gone),
        reverse_sql=[
            _PATIENTLY.format(change=back),
            f'ALTER TABLE "{table}" VALIDATE CONSTRAINT "{name}"',
        ],
    )
