"""The database for coroutines: a few connections for each event loop, beside those of the ORM.

``tenant_transaction`` is to coroutines what ``scope.tenant_scope`` is to threads. What it yields is psycopg's
own connection: ``await connection.execute("SELECT … WHERE id = %s", [id])``. Name the columns that are read
(never ``*``): batches are prepared, and a statement whose columns change fails.

Not psycopg_pool's: its tasks take a cancellation for a failed attempt to connect and work on, so that a loop
that ends meanwhile waits for them for ever, and a checkout costs several times as much (docs/adr/0007).
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any
from uuid import UUID

import psycopg
from django.db import connections
from psycopg import pq

from .batches import Connection
from .liveness import is_quiet
from .rls import TENANT_SETTING

# Few: each is a process of PostgreSQL's with caches of its own. Not fewer: what waits for one leaves later
# and alone, and costs the event loop more than the process costs PostgreSQL (docs/performance.md).
MAX_CONNECTIONS = 8
# How long a request waits for a connection before it is told that the database is away.
WAIT_SECONDS = 5.0
# A server's process grows with what its connection has seen.
MAX_AGE_SECONDS = 3600.0
# What Django adds for its own cursors.
_DJANGO_ONLY = ("cursor_factory", "context")


class Busy(psycopg.OperationalError):
    """No connection became free in time."""


class _Pool:
    """The connections of one event loop: at most ``MAX_CONNECTIONS``; the one used last is the next."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[Connection] = []
        self._made: weakref.WeakKeyDictionary[Connection, float] = weakref.WeakKeyDictionary()
        self._closed = False

    async def take(self) -> Connection:
        """A connection that is alive as far as this side knows."""
        try:
            # Where one is free, nothing is waited for, and no timer is set.
            async with asyncio.timeout(WAIT_SECONDS) if self._free.locked() else nullcontext():
                await self._free.acquire()
        except TimeoutError as error:
            raise Busy(f"No connection became free within {WAIT_SECONDS:.0f} seconds.") from error
        try:
            while self._idle:
                connection = self._idle.pop()
                if self._fit(connection):
                    return connection
                connection.pgconn.finish()
            return await self._connected()
        except BaseException:
            self._free.release()
            raise

    def give(self, connection: Connection) -> None:
        """Take back what is in order; close what a failure or a cancellation left otherwise."""
        if self._closed or connection.info.transaction_status != pq.TransactionStatus.IDLE:
            connection.pgconn.finish()
        else:
            self._idle.append(connection)
        self._free.release()

    def close(self) -> None:
        """Close those that are idle now, and the others when they come back."""
        self._closed = True
        for connection in self._idle:
            connection.pgconn.finish()
        self._idle.clear()

    def abandon(self) -> None:
        """Close all of them: their loop runs no more."""
        for connection in list(self._made):
            connection.pgconn.finish()

    async def _connected(self) -> Connection:
        connection = await Connection.connect(**_parameters())
        self._made[connection] = time.monotonic()
        await connection.execute("SET TIME ZONE 'UTC'")
        return connection

    def _fit(self, connection: Connection) -> bool:
        """Whether it is young and alive."""
        return is_quiet(connection) and time.monotonic() - self._made[connection] <= MAX_AGE_SECONDS


_pools: dict[asyncio.AbstractEventLoop, _Pool] = {}


@asynccontextmanager
async def database() -> AsyncIterator[Connection]:
    """A connection in autocommit and without a tenant, for one statement that is whole by itself."""
    pool = _pool()
    connection = await pool.take()
    try:
        yield connection
    finally:
        pool.give(connection)


@asynccontextmanager
async def transaction() -> AsyncIterator[Connection]:
    """A transaction without a tenant. Rolled back by an exception or a cancellation."""
    async with _begun(b"BEGIN") as connection:
        yield connection


@asynccontextmanager
async def tenant_transaction(tenant_id: UUID) -> AsyncIterator[Connection]:
    """A transaction that sees and writes one tenant's rows. Rolled back by an exception or a cancellation.

    The tenant is set on the way of BEGIN, for this transaction alone. Inside, ``connection.transaction()`` is
    a savepoint, and ``connection.pipeline()`` sends several statements at once.
    """
    # Without parameters, psycopg sends both as one message. A UUID's text has nothing to escape.
    tenant = f"SELECT set_config('{TENANT_SETTING}', '{UUID(str(tenant_id))}', true)"
    async with _begun(f"BEGIN; {tenant}".encode()) as connection:
        yield connection


@asynccontextmanager
async def _begun(begin: bytes) -> AsyncIterator[Connection]:
    async with database() as connection:
        await connection.execute(begin, prepare=False)
        try:
            yield connection
        except BaseException:
            # Where this fails, or is cancelled in its turn, the connection is closed, which does the same.
            with suppress(psycopg.Error):
                await connection.rollback()
            raise
        # PostgreSQL answers the COMMIT of a transaction that failed with ROLLBACK, and says no more of it.
        if connection.info.transaction_status == pq.TransactionStatus.INERROR:
            await connection.rollback()
            raise psycopg.errors.InFailedSqlTransaction(
                "A statement failed, and its error was not passed on."
            )
        await connection.commit()


async def close() -> None:
    """Close the running loop's connections. The next use makes others."""
    found = _pools.pop(asyncio.get_running_loop(), None)
    if found is not None:
        found.close()


def _pool() -> _Pool:
    loop = asyncio.get_running_loop()
    found = _pools.get(loop)
    if found is None:
        for gone in [other for other in list(_pools) if other.is_closed()]:
            with suppress(KeyError):  # another thread, with a loop of its own, was quicker
                _pools.pop(gone).abandon()
        found = _pools[loop] = _Pool()
    return found


def _parameters() -> dict[str, Any]:
    """Django's, so that both reach the same database, the tests' too."""
    parameters = dict(connections["default"].get_connection_params())
    for name in _DJANGO_ONLY:
        parameters.pop(name, None)
    # psycopg prepares nothing on them: after a ROLLBACK it deallocates all that a session has prepared, and
    # what a batch prepared would be gone with it.
    return parameters | {"autocommit": True, "prepare_threshold": None}
