"""Connections to Valkey: one asynchronous client for each event loop, one synchronous for each process."""

from __future__ import annotations

import functools
import os
from typing import Any

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as ValkeyConnectionError
from redis.exceptions import TimeoutError as ValkeyTimeoutError
from redis.retry import Retry

from somaagent.loops import OneForEachLoop

_BACKOFF = ExponentialWithJitterBackoff(base=0.05, cap=1.0)
TIMEOUT_SECONDS = 5.0
_MOST_CONNECTIONS = 50
_WAIT_SECONDS = 20.0
ERRORS = (ValkeyConnectionError, ValkeyTimeoutError)


def _options() -> dict[str, Any]:
    valkey = settings.VALKEY
    return {
        "host": valkey["host"],
        "port": valkey["port"],
        "password": valkey["password"],
        "ssl": valkey["tls"],
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "health_check_interval": 30,
        "retry_on_error": list(ERRORS),
    }


def client() -> Any:
    """The ``redis.asyncio.Redis`` of the running event loop; answers are bytes.

    Typed loosely: the library's own types leave open whether answers are bytes or text.
    """
    return _of_loop.get()


def lasting_client() -> Any:
    """Another client of the running event loop, which keeps its connection: for one caller that asks often.

    Its commands wait for each other, and for as long as it takes: the caller sets their limit
    (``TIMEOUT_SECONDS``). Half of what one costs is to take a connection and to give it back, and redis-py's
    own limits, for which it sends each command in a task.
    """
    return redis.asyncio.Redis.from_pool(_pool(max_connections=1, socket_timeout=None)).client()


def _pool(max_connections: int = _MOST_CONNECTIONS, **others: Any) -> redis.asyncio.BlockingConnectionPool:
    """Who finds no connection free waits for one: thousands may ask in the same moment."""
    options = _options() | others
    secure = options.pop("ssl")
    kind = redis.asyncio.SSLConnection if secure else redis.asyncio.Connection
    return redis.asyncio.BlockingConnectionPool(
        max_connections=max_connections,
        timeout=_WAIT_SECONDS,
        connection_class=kind,
        retry=AsyncRetry(_BACKOFF, settings.VALKEY["retries"]),
        **options,
    )


_of_loop = OneForEachLoop(lambda: redis.asyncio.Redis.from_pool(_pool()))


def blocking_client() -> redis.Redis:
    """The client of this process, for code that has no event loop."""
    return _of_process(os.getpid())


@functools.lru_cache(maxsize=1)
def _of_process(_: int) -> redis.Redis:
    return redis.Redis(**_options(), retry=Retry(_BACKOFF, settings.VALKEY["retries"]))
