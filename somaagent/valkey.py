"""Connections to Valkey: one asynchronous client for each event loop, one synchronous for each process."""

from __future__ import annotations

import asyncio
import functools
import os
from typing import Any

import hiredis
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


class Line:
    """A connection of its own, for one caller of the running event loop that asks often, one at a time.

    Half of what a command costs redis-py is to take a connection and to give it back, to look at each layer
    whether to try again, and to write the command down in Python: who has a line tries again themselves.
    """

    def __init__(self) -> None:
        pool: Any = _pool(socket_timeout=None)
        self._connection = pool.make_connection()

    async def ask(self, *words: str | bytes | int) -> Any:
        """Valkey's answer to a command. Raises ``ERRORS``, and redis-py's for what Valkey refuses.

        What comes too late, or for a caller that was cancelled, is lost with the connection; the next command
        makes another.
        """
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._connection.send_packed_command(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub takes one word
                return await self._connection.read_response()
        except TimeoutError:
            raise ValkeyTimeoutError("Valkey did not answer in time.") from None


def _pool(**others: Any) -> redis.asyncio.BlockingConnectionPool:
    """Who finds no connection free waits for one: thousands may ask in the same moment."""
    options = _options() | others
    secure = options.pop("ssl")
    kind = redis.asyncio.SSLConnection if secure else redis.asyncio.Connection
    return redis.asyncio.BlockingConnectionPool(
        max_connections=_MOST_CONNECTIONS,
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
