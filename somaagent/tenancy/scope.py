"""The tenant of a transaction.

Every query on a tenant's rows runs inside ``tenant_scope``: a transaction whose first statement
says whose it is. The setting is local to the transaction, so a connection that goes back to its
thread carries no tenant with it.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar
from uuid import UUID

import psycopg
from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError, close_old_connections, connection, transaction

from .rls import TENANT_SETTING

P = ParamSpec("P")
T = TypeVar("T")

# What a query raises while PostgreSQL restarts or cannot be reached: through the ORM, and through ``pool``.
DATABASE_AWAY = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)

# Threads that do the database's work for coroutines; each keeps its connection.
DATABASE_THREADS = 4
_threads = ThreadPoolExecutor(max_workers=DATABASE_THREADS, thread_name_prefix="database")


@contextmanager
def tenant_scope(tenant_id: UUID) -> Iterator[None]:
    """A transaction that sees and writes one tenant's rows. May be nested; the outer tenant comes back."""
    nested = connection.in_atomic_block
    with transaction.atomic():
        before = _current() if nested else ""
        _set(str(tenant_id))
        yield
        # A rollback takes the setting back by itself; so does the end of the outermost transaction.
        if nested:
            _set(before)


def _current() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s, true)", [TENANT_SETTING])
        return cursor.fetchone()[0] or ""


def _set(value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [TENANT_SETTING, value])


async def in_database(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a synchronous function that uses the ORM, on one of the database threads."""
    context = contextvars.copy_context()
    call = functools.partial(context.run, _fresh, function, *args, **kwargs)
    return await sync_to_async(call, thread_sensitive=False, executor=_threads)()


async def in_tenant(tenant_id: UUID, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a service or selector inside ``tenant_scope``, on one of the database threads."""

    def scoped() -> T:
        with tenant_scope(tenant_id):
            return function(*args, **kwargs)

    return await in_database(scoped)


def _fresh(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What Django does around a request: no call begins, or leaves behind, a connection past its age."""
    close_old_connections()
    try:
        return function(*args, **kwargs)
    finally:
        close_old_connections()
