"""``manage.py tenant export``: everything that a tenant owns, as it was at one moment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
from cryptography.fernet import Fernet
from django.core.management.base import CommandError
from django.db import connection, models, transaction
from django.utils import timezone

from apps.chat import selectors as chat
from somaagent.tenancy.audit.entries import BY_COMMAND, audit_entry_create
from somaagent.tenancy.models import Tenant
from somaagent.tenancy.scope import tenant_scope

from . import tables
from .archive import TENANT, USERS, Manifest, Writer, file_of
from .sealed import Secrets, holds_secrets

_AT_ONCE = 500
Say = Callable[[str], None]


def tenant_export(*, slug: str, path: Path, key_file: Path | None, say: Say) -> Manifest:
    """Write a tenant's archive to ``path``, and the key of its secrets to ``key_file``; neither may be there.

    Without ``key_file`` secrets of the tenant's own are left out. Raises ``CommandError``.
    """
    tenant = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        raise CommandError(f"There is no tenant {slug!r}.")
    secrets = Secrets.under(_new_key(key_file) if key_file is not None else None)
    writer = _writer(path)
    try:
        _write(tenant, writer, secrets, say)
        _tell(tenant, writer.manifest, with_secrets=key_file is not None)
    except BaseException:
        writer.abandon()
        path.unlink()
        if key_file is not None:
            key_file.unlink()
        raise
    return writer.manifest


def _new_key(path: Path) -> bytes:
    key = Fernet.generate_key()
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise CommandError(f"The key cannot be written to {path}: {error.strerror}.") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(key + b"\n")
    return key


def _writer(path: Path) -> Writer:
    try:
        return Writer(path, Manifest(timezone.now().isoformat(), tables.migrations()))
    except OSError as error:
        raise CommandError(f"The archive cannot be written to {path}: {error.strerror}.") from error


def _write(tenant: Tenant, writer: Writer, secrets: Secrets, say: Say) -> None:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        with tenant_scope(tenant.id):
            if running := chat.turns_hosted():
                raise CommandError(
                    f"{running} turns of {tenant.slug} are queued or running, and would go on in two places. "
                    "Suspend the tenant, and wait until they have ended."
                )
            writer.put(TENANT, [orjson.dumps(_facts(tenant))])
            say(f"users: {writer.put(USERS, _users(), columns=list(tables.USER_COLUMNS))}")
            for model in tables.moving():
                table = tables.table_of(model)
                rows = _rows(model)
                if holds_secrets(table):
                    rows = _without_seals(tenant, table, rows, secrets)
                count = writer.put(file_of(table), rows, columns=tables.columns_of(model))
                say(f"{table}: {count}")
    writer.manifest.secrets_left = secrets.left
    writer.finish()


def _tell(tenant: Tenant, manifest: Manifest, *, with_secrets: bool) -> None:
    """Behind the archive, which is taken away again where this cannot be told: it has the chain before it."""
    with tenant_scope(tenant.id):
        audit_entry_create(
            by=BY_COMMAND,
            action="tenant.exported",
            target_type="tenant",
            target_id=tenant.id,
            facts={"manifest_sha256": manifest.digest(), "with_secrets": with_secrets},
        )


def _facts(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": str(tenant.id),
        "created_at": tenant.created_at.isoformat(),
        "slug": tenant.slug,
        "name": tenant.name,
    }


def _users() -> Iterator[bytes]:
    """Everybody whom a row of the tenant names."""
    named = " UNION ".join(f'SELECT "{column}" FROM "{table}"' for table, column in tables.user_columns())  # noqa: S608 names of ours
    wanted = ", ".join(f'"{column}"' for column in tables.USER_COLUMNS)
    return _lines(f"SELECT {wanted} FROM tenancy_user WHERE id IN ({named}) ORDER BY id")  # noqa: S608 as above


def _rows(model: type[models.Model]) -> Iterator[bytes]:
    """Row-level security shows the tenant's rows alone."""
    columns, table, order = tables.selected(model), tables.table_of(model), tables.order_of(model)
    return _lines(f'SELECT {columns} FROM "{table}" ORDER BY {order}')  # noqa: S608 as above


def _lines(query: str) -> Iterator[bytes]:
    connection.ensure_connection()
    with connection.connection.cursor(name="export") as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(f"SELECT row_to_json(found)::text FROM ({query}) found")  # noqa: S608 as above
        for (line,) in cursor:
            yield line.encode()


def _without_seals(tenant: Tenant, table: str, rows: Iterator[bytes], secrets: Secrets) -> Iterator[bytes]:
    for line in rows:
        yield orjson.dumps(secrets.taken_out(tenant.id, table, orjson.loads(line)))
