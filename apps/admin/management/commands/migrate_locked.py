"""``manage.py migrate_locked``: migrations, one process at a time."""

from __future__ import annotations

import time
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.migrations.executor import MigrationExecutor

from somaagent.commands import PlatformCommand

# Any number will do that nothing else on this database locks with: "SA01" in ASCII.
LOCK = 0x53413031
POLL_SECONDS = 0.5


class Command(PlatformCommand):
    help = "Apply migrations under an advisory lock, as the role that owns the tables. --check only looks."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="Exit 1 where migrations are not applied.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["check"]:
            self._check()
            return
        with connection.cursor() as cursor:
            _lock(cursor)
            try:
                if _pending():
                    call_command("migrate", interactive=False, verbosity=options["verbosity"])
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])

    def _check(self) -> None:
        if pending := _pending():
            raise CommandError(
                f"Not applied: {', '.join(pending)}. Apply them with: manage.py migrate_locked"
            )
        self.stdout.write("All migrations are applied.")


def _lock(cursor: CursorWrapper) -> None:
    """Wait for the process that migrates now. The lock goes with the connection.

    Not in one statement: an index that is made concurrently waits for all statements that began before it,
    and one of those would be waiting for the lock.
    """
    while True:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        if cursor.fetchone()[0]:
            return
        time.sleep(POLL_SECONDS)


def _pending() -> list[str]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
