"""Transactions as scripts: the same few statements for a coroutine's connection and for Django's own.

A script is a generator. It yields statements, a batch at a time, and is sent their rows; what it returns is
the outcome. It knows nothing of connections: ``perform`` runs it over the pool, in a transaction of its own
and one round trip for each batch, ``performed`` on Django's connection, within the open ``tenant_scope``.
Turns are made of these: the ORM is for what happens less often.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from django.db import connection, models

from .pool import tenant_transaction

T = TypeVar("T")
M = TypeVar("M", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with ``%(name)s`` for its parameters. Columns are named, never ``*``."""

    sql: str
    parameters: Mapping[str, Any]


Row: TypeAlias = tuple[Any, ...]
Script: TypeAlias = Generator[Sequence[Statement], list[list[Row]], T]


async def perform(tenant_id: UUID, script: Script[T]) -> T:
    """The script's outcome, committed. Raises Django's database errors; any error rolls all of it back."""
    with connection.wrap_database_errors:
        async with tenant_transaction(tenant_id) as database:
            try:
                batch = next(script)
                while True:
                    async with database.pipeline():
                        cursors = [await database.execute(one.sql, one.parameters) for one in batch]
                    rows = [await found.fetchall() if found.description else [] for found in cursors]
                    batch = script.send(rows)
            except StopIteration as end:
                outcome: T = end.value
    return outcome


def performed(script: Script[T]) -> T:
    """The script's outcome, as a part of the transaction that is open on this thread."""
    try:
        batch = next(script)
        while True:
            batch = script.send([_rows(one) for one in batch])
    except StopIteration as end:
        outcome: T = end.value
        return outcome


def _rows(statement: Statement) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(statement.sql, statement.parameters)
        return cursor.fetchall() if cursor.description else []


def inserted(row: models.Model, *, once: str = "") -> Statement:
    """The statement that inserts a new row, with what its model sets by itself.

    ``once``: columns that are unique together; where such a row is there already, nothing happens.
    """
    values = {
        str(field.column): field.get_db_prep_save(field.pre_save(row, add=True), connection)
        for field in row._meta.concrete_fields  # noqa: SLF001 Django's documented model API
    }
    unless = f" ON CONFLICT ({once}) DO NOTHING" if once else ""
    return Statement(_insert(type(row)) + unless, values)


@functools.cache
def _insert(model: type[models.Model]) -> str:
    names = [str(field.column) for field in model._meta.concrete_fields]  # noqa: SLF001 as above
    places = ", ".join(f"%({name})s" for name in names)
    return f'INSERT INTO "{model._meta.db_table}" ({_quoted(names)}) VALUES ({places})'  # noqa: S608, SLF001 names of ours


@functools.cache
def columns(model: type[models.Model], alias: str) -> str:
    """A model's columns for a SELECT, in the order that ``read`` expects."""
    return ", ".join(f'{alias}."{field.column}"' for field in model._meta.concrete_fields)  # noqa: SLF001 as above


def read(model: type[M], row: Sequence[Any]) -> M:
    """The model's instance out of a row of ``columns``."""
    names = [field.attname for field in model._meta.concrete_fields]  # noqa: SLF001 as above
    return model.from_db("default", names, row)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
