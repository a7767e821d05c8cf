"""``manage.py tenant import``: a tenant out of its archive, whole or not at all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from django.core.management.base import CommandError
from django.db import IntegrityError, connection, models, transaction

from somaagent.errors import SomaError
from somaagent.tenancy import services as tenancy
from somaagent.tenancy.audit.entries import BY_COMMAND, audit_entry_create
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.models import Tenant, User
from somaagent.tenancy.scope import tenant_scope

from . import tables
from .archive import TENANT, USERS, Manifest, Reader, file_of
from .departure import Say
from .sealed import Secrets, holds_secrets

_AT_ONCE = 500


def tenant_import(*, path: Path, slug: str | None, key_file: Path | None, say: Say) -> Manifest:
    """Bring a tenant in, with ``slug`` for a new short name. Raises ``CommandError``: nothing is changed."""
    key = _read(key_file) if key_file is not None else None
    reader = Reader(path)
    try:
        _fitting(reader.manifest)
        with transaction.atomic():
            _bring_in(reader, slug, Secrets.under(key), say)
    finally:
        reader.close()
    return reader.manifest


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"The key cannot be read from {path}: {error.strerror}.") from error


def _fitting(manifest: Manifest) -> None:
    here = tables.migrations()
    if manifest.migrations == here:
        return
    newer = sorted(set(manifest.migrations) - set(here))
    older = sorted(set(here) - set(manifest.migrations))
    told = [f"it has {', '.join(newer)}"] * bool(newer) + [f"it lacks {', '.join(older)}"] * bool(older)
    raise CommandError(
        f"The archive is of another version than this installation: {'; '.join(told)}. Bring both to the "
        "same version, and export again."
    )


def _bring_in(reader: Reader, slug: str | None, secrets: Secrets, say: Say) -> None:
    tenant = _tenant(orjson.loads(next(reader.lines(TENANT))), slug)
    made, known = _users(reader)
    say(f"users: {made} new, {known} known here")
    with tenant_scope(tenant.id):
        for model in tables.moving():
            table = tables.table_of(model)
            rows = reader.lines(file_of(table))
            if holds_secrets(table):
                rows = _with_seals(tenant, table, rows, secrets)
            say(f"{table}: {_insert(model, rows)}")
        audit_entry_create(
            by=BY_COMMAND,
            action="tenant.imported",
            target_type="tenant",
            target_id=tenant.id,
            facts={"manifest_sha256": reader.manifest.digest(), "made_at": reader.manifest.made_at},
        )
        with connection.cursor() as cursor:
            cursor.execute(
                "SET CONSTRAINTS ALL IMMEDIATE"
            )  # what refers to nothing is told here, not at the end


def _tenant(facts: dict[str, Any], slug: str | None) -> Tenant:
    wanted = slug or facts["slug"]
    if Tenant.objects.filter(id=facts["id"]).exists():
        raise CommandError(f"The tenant {facts['slug']!r} is here already (id {facts['id']}).")
    if Tenant.objects.filter(slug=wanted).exists():
        raise CommandError(f"Another tenant is called {wanted!r}: give this one another name with --slug.")
    try:
        tenant = tenancy.tenant_create(tenant_id=UUID(facts["id"]), slug=wanted, name=facts["name"])
    except SomaError as refused:
        raise CommandError(refused.message) from refused
    Tenant.objects.filter(id=tenant.id).update(created_at=facts["created_at"])
    return tenant


def _users(reader: Reader) -> tuple[int, int]:
    """How many users were made, and how many are here already: the same id under the same name."""
    rows = [orjson.loads(line) for line in reader.lines(USERS)]
    here = {str(user.id): user.username for user in User.objects.filter(id__in=[row["id"] for row in rows])}
    new = [row for row in rows if row["id"] not in here]
    taken = sorted(row["username"] for row in rows if here.get(row["id"], row["username"]) != row["username"])
    taken += sorted(
        row["username"] for row in new if User.objects.filter(username__iexact=row["username"]).exists()
    )
    if taken:
        raise CommandError(
            f"Other people are called so here: {', '.join(taken)}. Rename them here or there, and export "
            "again."
        )
    for row in new:
        User.objects.create(**row)
    return len(new), len(rows) - len(new)


def _with_seals(tenant: Tenant, table: str, rows: Iterator[bytes], secrets: Secrets) -> Iterator[bytes]:
    for line in rows:
        yield orjson.dumps(secrets.brought_in(tenant.id, table, orjson.loads(line)))


def _insert(model: type[models.Model], rows: Iterator[bytes]) -> int:
    columns = ", ".join(f'"{column}"' for column in tables.columns_of(model))
    table = tables.table_of(model)
    rows_of = f'json_populate_recordset(NULL::"{table}", %s::json)'
    query = f'INSERT INTO "{table}" ({columns}) SELECT {columns} FROM {rows_of}'  # noqa: S608 names of ours
    if (
        model is AuditEntry
    ):  # the application may not write there: the chain is taken in, and held to its digests
        query = "SELECT tenancy_audit_take_in(%s::json)"
    count = 0
    with connection.cursor() as cursor:
        while batch := list(itertools.islice(rows, _AT_ONCE)):
            try:
                cursor.execute(query, ["[" + b",".join(batch).decode() + "]"])
            except IntegrityError as error:
                raise CommandError(f"Rows of {table} do not fit: {error}") from error
            count += len(batch)
    return count
