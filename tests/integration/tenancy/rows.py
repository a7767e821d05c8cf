"""A row of any tenant-owned model, made of what its columns ask for."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.utils import timezone

from somaagent.tenancy.audit.entries import audit_entry_create, who
from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.models import Tenant, User
from somaagent.tenancy.scripts import Statement, inserted
from tests.factories import Organisation

# Whose models are ours; all others are libraries'.
OURS = ("apps.", "somaagent.")
# What a model's constraints want besides its types; what is called is made anew for each row.
FACTS: dict[str, dict[str, Any]] = {
    "chat.Schedule": {"enabled": False},
    "tenancy.Budget": {"covers": "user", "subject_id": uuid7},
}

_numbers = itertools.count(1)


def our_models() -> list[type[models.Model]]:
    """Every model that is ours and has a table."""
    return [
        model
        for model in apps.get_models(include_auto_created=True)
        if model.__module__.startswith(OURS) and model._meta.managed and not model._meta.proxy
    ]


def tables_with_tenant() -> set[str]:
    """Every table in the database that says whose its rows are."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.table_name FROM information_schema.columns c "
            "JOIN information_schema.tables t USING (table_schema, table_name) "
            "WHERE c.column_name = 'tenant_id' AND c.table_schema = 'public' AND t.table_type = 'BASE TABLE'"
        )
        return {name for (name,) in cursor.fetchall()}


def owned_models() -> list[type[models.Model]]:
    """Those with a column ``tenant_id``, of whichever base."""
    return [
        model
        for model in our_models()
        if any(field.column == "tenant_id" for field in model._meta.concrete_fields)
    ]


def _audited(of: Organisation) -> None:
    audit_entry_create(by=who(of.owner), action="story.told")


# What the database writes for the application, which cannot: how that comes about.
MADE: dict[str, Callable[[Organisation], None]] = {
    "tenancy.AuditEntry": _audited,
    "tenancy.AuditHead": _audited,
}


class Rows:
    """Rows of one organisation, not saved before they are asked to be.

    ``full``: with a value in every column that may have one, references aside. ``facts``: besides ``FACTS``.
    """

    def __init__(
        self, of: Organisation, *, full: bool = False, facts: dict[str, dict[str, Any]] | None = None
    ) -> None:
        self._of = of
        self._full = full
        self._facts = FACTS | (facts or {})

    def new(self, model: type[models.Model]) -> Any:
        """Another row, not saved; those that it needs are. Runs inside the tenant's scope."""
        facts = self._facts.get(model._meta.label, {})
        given = {name: value() if callable(value) else value for name, value in facts.items()}
        wanted = {
            field.name: self._value(field)
            for field in model._meta.concrete_fields
            if field.name not in given and (_is_wanted(field) or (self._full and _can_be_filled(field)))
        }
        return model(**given, **wanted)

    def kept(self, model: type[models.Model]) -> Any:
        """Another row, in the database. Runs inside the tenant's scope."""
        if (make := MADE.get(model._meta.label)) is not None:
            make(self._of)
            return model.objects.latest("id")  # type: ignore[attr-defined]  # every model of ours has it
        row = self.new(model)
        insert(inserted(row))
        return row

    def _value(self, field: models.Field[Any, Any]) -> Any:
        if isinstance(field, models.ForeignKey):
            return self._related(field)
        if field.choices:
            return field.choices[0][0]
        if self._full and isinstance(field, models.DecimalField):
            # To its last place: what is read as a binary fraction on the way comes out as another.
            return Decimal(10**field.decimal_places + next(_numbers)).scaleb(-field.decimal_places)
        return _plain(field)

    def _related(self, field: models.ForeignKey[Any, Any]) -> Any:
        to = field.remote_field.model
        if to is Tenant:
            return self._of.tenant
        if to is User:
            return User.objects.create(username=f"somebody-{next(_numbers)}-{self._of.tenant.slug}")
        row = self.new(to)
        row.save(force_insert=True)
        return row


def insert(row: Statement) -> None:
    """Also where the database would give a column's value by itself."""
    with connection.cursor() as cursor:
        cursor.execute(row.sql.replace(" VALUES ", " OVERRIDING SYSTEM VALUE VALUES ", 1), row.parameters)


def _is_wanted(field: models.Field[Any, Any]) -> bool:
    optional = field.null or field.has_default() or field.has_db_default() or field.generated
    dated = getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
    return not (optional or dated or (field.blank and field.empty_strings_allowed and not field.unique))


def _can_be_filled(field: models.Field[Any, Any]) -> bool:
    return not (field.is_relation or field.primary_key or field.generated or field.name == "created_at")


def _plain(field: models.Field[Any, Any]) -> Any:
    number = next(_numbers)
    length = getattr(field, "max_length", None)
    values: list[tuple[type[models.Field[Any, Any]], Any]] = [
        (models.UUIDField, uuid7()),
        (models.DateTimeField, timezone.now()),
        (models.DateField, timezone.now().date()),
        (models.BooleanField, False),
        (models.JSONField, {}),
        (models.BinaryField, os.urandom(length or 32)),
        (models.DecimalField, Decimal(0)),
        (models.IntegerField, number),
        (models.FloatField, number / 3),
        (ArrayField, []),
        (models.CharField, f"some-{number}"[:length]),
        (models.TextField, f"some-{number}"),
    ]
    for kind, value in values:
        if isinstance(field, kind):
            return value
    raise AssertionError(f"Say in tests/integration/tenancy/rows.py what {field} may be.")


def id_of(row: models.Model) -> UUID | int:
    key: UUID | int = row.pk
    return key
