"""Which migrations the database lacks, as Django sees it. Imported only when the settings are sound."""

from __future__ import annotations

import django
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.exceptions import BadMigrationError, InconsistentMigrationHistory, NodeNotFoundError
from django.db.migrations.executor import MigrationExecutor


def pending() -> tuple[list[str], str]:
    """The names of the migrations that are not applied, and, if that cannot be told, why."""
    try:
        django.setup()
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (
        ImportError,
        ImproperlyConfigured,
        DatabaseError,
        BadMigrationError,
        InconsistentMigrationHistory,
        NodeNotFoundError,
    ) as error:
        return [], f"{type(error).__name__}: {' '.join(str(error).split())}"
    finally:
        if django.apps.apps.ready:
            connection.close()
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan], ""
