"""What a tenant owns in the database, found by walking the models: nothing has to be listed anew."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps
from django.db import connection, models
from django.db.migrations.recorder import MigrationRecorder

from somaagent.tenancy.audit.models import AuditEntry, AuditHead
from somaagent.tenancy.models import Tenant, User
from somaagent.tenancy.outbox.models import OutboxEvent, OutboxLane

# Of a user, what goes along. Who operates a platform does not operate the one that a tenant moves to.
USER_COLUMNS = (
    "id",
    "username",
    "password",
    "email",
    "first_name",
    "last_name",
    "is_active",
    "date_joined",
    "last_login",
    "password_is_one_time",
)


def owned() -> list[type[models.Model]]:
    """The models whose rows belong to a tenant, by the names of their tables."""
    found = [model for model in apps.get_models() if _tenant_field(model) is not None]
    return sorted(found, key=lambda model: model._meta.db_table)  # noqa: SLF001 Django's documented model API


def _tenant_field(model: type[models.Model]) -> models.Field[object, object] | None:
    return next(
        (field for field in model._meta.concrete_fields if field.related_model is Tenant),  # noqa: SLF001 as above
        None,
    )


# How far a chain goes follows from its entries; events are published where they happened.
STAYING = (AuditHead, OutboxEvent, OutboxLane)


def moving() -> list[type[models.Model]]:
    """Those of them that go along when a tenant moves."""
    return [model for model in owned() if model not in STAYING]


def order_of(model: type[models.Model]) -> str:
    """The column by which rows leave: entries of an audit arrive as they were chained."""
    return "number" if model is AuditEntry else "id"


def table_of(model: type[models.Model]) -> str:
    return str(model._meta.db_table)  # noqa: SLF001 as above


def columns_of(model: type[models.Model]) -> list[str]:
    return [str(field.column) for field in model._meta.concrete_fields]  # noqa: SLF001 as above


def selected(model: type[models.Model]) -> str:
    """The columns for a SELECT; decimals as text, which no JSON reader rounds."""
    fields = model._meta.concrete_fields  # noqa: SLF001 as above
    return ", ".join(
        f'"{field.column}"::text AS "{field.column}"'
        if isinstance(field, models.DecimalField)
        else f'"{field.column}"'
        for field in fields
    )


def user_columns() -> Iterator[tuple[str, str]]:
    """Where rows of a tenant name a user: table and column."""
    for model in owned():
        for field in model._meta.concrete_fields:  # noqa: SLF001 as above
            if field.related_model is User:
                yield table_of(model), str(field.column)


def migrations() -> list[str]:
    """The migrations of every app that has rows of tenants, as they are applied here."""
    labels = {model._meta.app_label for model in owned()}  # noqa: SLF001 as above
    applied = MigrationRecorder(connection).applied_migrations()
    return sorted(f"{label}.{name}" for label, name in applied if label in labels)
