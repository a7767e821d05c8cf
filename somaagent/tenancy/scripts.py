"""Transactions as scripts: the same few statements for a coroutine's connection and for Django's own.

A script is a generator. It yields statements, a batch at a time, and is sent their rows; what it returns is
the outcome. It knows nothing of connections: ``perform`` runs it over the pool, in a transaction of its own,
``look`` too, if it only reads, and ``performed`` on Django's connection, within the open ``tenant_scope``.
Over the pool a batch is one way there and back.
Turns are made of these, and the reads of them: the ORM is for what happens less often.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from uuid import UUID

import psycopg
from django.db import connections, models
from django.db.utils import DatabaseErrorWrapper
from psycopg.types.json import Jsonb

from . import pool
from .batches import Connection
from .rls import TENANT_SETTING

if TYPE_CHECKING:
    from .proofs import Proof

T = TypeVar("T")
M = TypeVar("M", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with ``%(name)s`` for its parameters. Columns are named, never ``*``."""

    sql: str
    parameters: Mapping[str, Any]


Row: TypeAlias = tuple[Any, ...]
Script: TypeAlias = Generator[Sequence[Statement], list[list[Row]], T]


class Last(list[Statement]):
    """A script's last batch, whose transaction ends with it: a way there and back less than any other.

    All that is left to the script is to return.
    """


class _Driver:
    """What Django has to know of a driver to name its errors. Asked for its own connection, it would make one
    for each request in the event loop, only to ask it this.
    """

    Database = psycopg
    errors_occurred = False


_AS_DJANGO_S = DatabaseErrorWrapper(_Driver())
_BEGIN: tuple[str, Mapping[str, Any]] = ("BEGIN", {})
_COMMIT: tuple[str, Mapping[str, Any]] = ("COMMIT", {})
_TENANT = f"SELECT set_config('{TENANT_SETTING}', %(tenant)s, true)"


async def perform(tenant_id: UUID, script: Script[T], *, proof: Proof | None = None) -> T:
    """The script's outcome, committed. Raises Django's database errors; any error rolls all of it back.

    A ``proof`` travels with the first batch, and is held or nothing comes of the script.
    """
    with _AS_DJANGO_S:
        async with pool.database() as database:
            try:
                return await _committed(database, tenant_id, script, proof)
            except BaseException:
                # Where this fails, or is cancelled in its turn, the connection is closed: that does the same.
                with suppress(psycopg.Error):
                    await database.rollback()
                raise


async def _committed(database: Connection, tenant_id: UUID, script: Script[T], proof: Proof | None) -> T:
    first = [_BEGIN, (_TENANT, {"tenant": str(tenant_id)}), *([proof.statement()] if proof else [])]
    begun = over = False
    try:
        batch = next(script)
        while True:
            if over:
                raise RuntimeError("A script goes on behind its last batch.")
            over = isinstance(batch, Last)
            if over and proof and not begun:  # what it writes would be committed before anybody looked
                proof.hold((await database.batch(first))[-1])
                begun = True
            before, after = [] if begun else first, [_COMMIT] if over else []
            ours = [(one.sql, one.parameters) for one in batch]
            rows = await database.batch([*before, *ours, *after])
            if proof and before:
                proof.hold(rows[len(before) - 1])
            begun = True
            batch = script.send(rows[len(before) : len(before) + len(ours)])
    except StopIteration as end:
        outcome: T = end.value
    if begun and not over:
        await database.batch([_COMMIT])
    return outcome


async def look(tenant_id: UUID, script: Script[T], *, proof: Proof | None = None) -> T:
    """The outcome of a script that only reads: each batch is one message, and a transaction by itself.

    Raises Django's database errors. A ``proof`` travels with the first batch, as in ``perform``.
    """
    tenant = (_TENANT, {"tenant": str(tenant_id)})
    asked = [proof.statement()] if proof else []
    with _AS_DJANGO_S:
        async with pool.database() as database:
            try:
                batch = next(script)
                while True:
                    ours = [(one.sql, one.parameters) for one in batch]
                    rows = await database.batch([*asked, tenant, *ours])
                    if proof and asked:
                        proof.hold(rows[0])
                    rows, asked = rows[len(asked) + 1 :], []
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
    with connections["default"].cursor() as cursor:
        cursor.execute(statement.sql, statement.parameters)
        return cursor.fetchall() if cursor.description else []


def rows_of(statement: Statement) -> Script[list[Row]]:
    """The script of one statement: its rows."""
    (rows,) = yield [statement]
    return rows


def inserted(row: models.Model, *, once: str = "") -> Statement:
    """The statement that inserts a new row, with what its model sets by itself.

    ``once``: columns that are unique together; where such a row is there already, nothing happens.
    """
    insert, writers = _insert(type(row))
    unless = f" ON CONFLICT ({once}) DO NOTHING" if once else ""
    return Statement(insert + unless, {column: value(row) for column, value in writers})


def together(*writes: Statement) -> Statement:
    """Several writes as one statement, with the rows of the last. None sees what another of them does."""
    parts: list[str] = []
    parameters: dict[str, Any] = {}
    for number, write in enumerate(writes):
        names = {name: f"{name}_{number}" for name in write.parameters}
        parts.append(write.sql % {name: f"%({new})s" for name, new in names.items()})
        parameters |= {names[name]: value for name, value in write.parameters.items()}
    *before, last = parts
    first = ", ".join(f"write_{number} AS ({part})" for number, part in enumerate(before))
    return Statement(f"WITH {first} {last}" if before else last, parameters)


@functools.cache
def _insert(model: type[models.Model]) -> tuple[str, list[tuple[str, Callable[[models.Model], Any]]]]:
    writers = [(str(field.column), _writer(field)) for field in model._meta.concrete_fields]  # noqa: SLF001 Django's documented model API
    names = [name for name, _ in writers]
    places = ", ".join(f"%({name})s" for name in names)
    return f'INSERT INTO "{model._meta.db_table}" ({_quoted(names)}) VALUES ({places})', writers  # noqa: S608, SLF001 names of ours


def _writer(field: models.Field[Any, Any]) -> Callable[[models.Model], Any]:
    """What gives a row's value for a column. psycopg knows the types of most as they are.

    Not by ``get_db_prep_save``: to look the connection up that it asks for costs more than all else of a row.
    """
    given = operator.attrgetter(field.attname)
    if isinstance(field, models.JSONField):
        return lambda row: None if (value := given(row)) is None else Jsonb(value)
    if isinstance(field, models.DateField):  # set by itself where it says so
        return lambda row: field.pre_save(row, add=True)
    return given


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
