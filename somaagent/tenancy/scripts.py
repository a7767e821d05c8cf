"""Transactions as scripts: the same few statements for a coroutine's connection and for Django's own.

A script is a generator. It yields statements, a batch at a time, and is sent their rows; what it returns is
the outcome. It knows nothing of connections: ``perform`` runs it over the pool, in a transaction of its own,
``look`` too, if it only reads, and ``performed`` on Django's connection, within the open ``tenant_scope``.
Over the pool a batch is one way there and back.
Turns are made of these, and the reads of them: the ORM is for what happens less often.
"""

from __future__ import annotations

import functools
import json
import operator
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from uuid import UUID

import orjson
import psycopg
from django.db import DataError, connections, models, transaction
from django.db.models.base import ModelState
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


class Needed(Statement):
    """One without which nothing of its batch is to happen: made by ``needed``."""


class Missed(Exception):  # noqa: N818 - it says what happened
    """Raised into a script whose batch had something ``needed`` that found no row. All of its transaction is
    undone, and the next batch begins another.
    """


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
_PARAMETER = re.compile(r"%\((\w+)\)s")
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
    open_one = _Transaction(database, tenant_id, proof)
    try:
        batch = next(script)
        while True:
            try:
                rows = await open_one.rows(batch)
            except Missed as missed:
                batch = script.throw(missed)
            else:
                batch = script.send(rows)
    except StopIteration as end:
        outcome: T = end.value
    await open_one.end()
    return outcome


class _Transaction:
    """A script's, which begins with its first batch and ends with its last."""

    def __init__(self, database: Connection, tenant_id: UUID, proof: Proof | None) -> None:
        self._database, self._proof = database, proof
        self._first = [_BEGIN, (_TENANT, {"tenant": str(tenant_id)}), *([proof.statement()] if proof else [])]
        self._begun = self._over = False

    async def rows(self, batch: Sequence[Statement]) -> list[list[Row]]:
        """Those of each statement. Raises ``Missed``, and begins anew with the next batch."""
        if self._over:
            raise RuntimeError("A script goes on behind its last batch.")
        self._over = isinstance(batch, Last)
        if self._over and self._proof and not self._begun:
            # What it writes would be committed before anybody looked.
            self._proof.hold((await self._database.batch(self._first))[-1])
            self._begun = True
        before, after = [] if self._begun else self._first, [_COMMIT] if self._over else []
        if before and after:
            before, after = before[1:], []  # a message is a transaction by itself
        ours = [(one.sql, one.parameters) for one in batch]
        try:
            rows = await self._database.batch([*before, *ours, *after])
        except psycopg.errors.DivisionByZero as error:
            if not _has_needed(batch):
                raise
            await self._database.rollback()
            self._begun = self._over = False
            raise Missed from error
        if self._proof and before:
            self._proof.hold(rows[len(before) - 1])
        self._begun = True
        return rows[len(before) : len(before) + len(ours)]

    async def end(self) -> None:
        if self._begun and not self._over:
            await self._database.batch([_COMMIT])


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
            try:
                with transaction.atomic() if _has_needed(batch) else nullcontext():
                    rows = [_rows(one) for one in batch]
            except DataError as error:
                if not (_has_needed(batch) and isinstance(error.__cause__, psycopg.errors.DivisionByZero)):
                    raise
                batch = script.throw(Missed())
            else:
                batch = script.send(rows)
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


def needed(statement: Statement) -> Needed:
    """The same statement, with the same rows, which fails where it has none (see ``Missed``).

    One message does then what would take two: first to look, then to write.
    """
    sql = f"""
        WITH needed AS ({statement.sql})
        SELECT needed.*, 1 / found.number FROM (SELECT count(*) AS number FROM needed) found
        LEFT JOIN needed ON true
    """  # noqa: S608 a statement of ours
    return Needed(sql, statement.parameters)


def _has_needed(batch: Sequence[Statement]) -> bool:
    return any(isinstance(one, Needed) for one in batch)


def inserted(row: models.Model, *, once: str = "") -> Statement:
    """The statement that inserts a new row, with what its model sets by itself.

    ``once``: columns that are unique together; where such a row is there already, nothing happens.
    """
    insert, writers = _insert(type(row), once)
    return Statement(insert, {column: value(row) for column, value in writers})


def together(*writes: Statement) -> Statement:
    """Several writes as one statement, with the rows of the last. None sees what another of them does."""
    return combined(_side_by_side, writes)


def _side_by_side(writes: Sequence[str]) -> str:
    *before, last = writes
    first = ", ".join(f"write_{number} AS ({part})" for number, part in enumerate(before))
    return f"WITH {first} {last}" if before else last


def combined(form: Callable[[Sequence[str]], str], parts: Sequence[Statement]) -> Statement:
    """One statement, which ``form`` makes out of the SQL of several. It is asked once for the same ones."""
    sql, renamed = _combined(form, tuple(part.sql for part in parts))
    parameters = {
        new: part.parameters[name] for part, names in zip(parts, renamed, strict=True) for name, new in names
    }
    return Statement(sql, parameters)


@functools.lru_cache(maxsize=500)
def _combined(
    form: Callable[[Sequence[str]], str], parts: tuple[str, ...]
) -> tuple[str, list[list[tuple[str, str]]]]:
    """The statement; of each of its parts its parameters, with the names that they have there."""
    named = [_PARAMETER.sub(rf"%(\1_{number})s", part) for number, part in enumerate(parts)]
    renamed = [
        [(name, f"{name}_{number}") for name in dict.fromkeys(_PARAMETER.findall(part))]
        for number, part in enumerate(parts)
    ]
    return form(named), renamed


@functools.cache
def _insert(
    model: type[models.Model], once: str
) -> tuple[str, list[tuple[str, Callable[[models.Model], Any]]]]:
    writers = [(str(field.column), _writer(field)) for field in model._meta.concrete_fields]  # noqa: SLF001 Django's documented model API
    names = [name for name, _ in writers]
    places = ", ".join(f"%({name})s" for name in names)
    unless = f" ON CONFLICT ({once}) DO NOTHING" if once else ""
    return f'INSERT INTO "{model._meta.db_table}" ({_quoted(names)}) VALUES ({places}){unless}', writers  # noqa: S608, SLF001 names of ours


def _writer(field: models.Field[Any, Any]) -> Callable[[models.Model], Any]:
    """What gives a row's value for a column. psycopg knows the types of most as they are.

    Not by ``get_db_prep_save``: to look the connection up that it asks for costs more than all else of a row.
    """
    given = operator.attrgetter(field.attname)
    if isinstance(field, models.JSONField):
        return lambda row: None if (value := given(row)) is None else Jsonb(value, dumps=_json)
    if isinstance(field, models.DateTimeField) and (field.auto_now or field.auto_now_add):
        return lambda row: _set_now(row, field.attname)
    return given


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # integers beyond 64 bits: rare, and the slower way can write them
        return json.dumps(value).encode()


def _set_now(row: models.Model, name: str) -> datetime:
    now = datetime.now(UTC)
    setattr(row, name, now)
    return now


@functools.cache
def columns(model: type[models.Model], alias: str) -> str:
    """A model's columns for a SELECT, in the order that ``read`` expects."""
    return ", ".join(f'{alias}."{field.column}"' for field in model._meta.concrete_fields)  # noqa: SLF001 as above


def read(model: type[M], row: Sequence[Any]) -> M:
    """The model's instance out of a row of ``columns``."""
    found = _bare(model)
    found._state.adding, found._state.db = False, "default"  # noqa: SLF001 as ``from_db`` does
    found.__dict__.update(zip(_attributes(model), row, strict=True))
    return found


def fresh(model: type[M], **values: Any) -> M:
    """A new row: what ``model(**values)`` makes, with columns by their attributes' names (``session_id``).

    A turn makes six of them, and Django's own way looks for five times as long at what it is given.
    """
    if unknown := values.keys() - _attributes(model).keys():
        raise TypeError(f"{model.__name__} has no {', '.join(sorted(unknown))}")
    constants, makers = _defaults(model)
    made = {name: make() for name, make in makers if name not in values}
    row = _bare(model)
    row.__dict__.update(constants | made | values)
    return row


def relate(row: models.Model, name: str, other: models.Model) -> None:
    """Sets a foreign key to a row at hand. An assignment does the same, and asks Django's routers first."""
    setattr(row, f"{name}_id", other.pk)
    row._state.fields_cache[name] = other  # noqa: SLF001 where Django keeps it


def _bare(model: type[M]) -> M:
    row = model.__new__(model)
    row._state = ModelState()  # noqa: SLF001 what Django's models begin with
    return row


@functools.cache
def _attributes(model: type[models.Model]) -> dict[str, None]:
    return {field.attname: None for field in model._meta.concrete_fields}  # noqa: SLF001 as above


@functools.cache
def _defaults(
    model: type[models.Model],
) -> tuple[dict[str, Any], tuple[tuple[str, Callable[[], Any]], ...]]:
    fields = model._meta.concrete_fields  # noqa: SLF001 as above
    makers = tuple(
        (field.attname, field.default) for field in fields if field.has_default() and callable(field.default)
    )
    made = {name for name, _ in makers}
    return {field.attname: field.get_default() for field in fields if field.attname not in made}, makers


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
