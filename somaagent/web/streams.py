"""Answers that a thread makes piece by piece."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections


async def from_thread(pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The pieces of an iterator that may wait, or read the database, each made when the one before was sent.

    It has a thread of its own: a client that reads slowly keeps none of the lane's, and the iterator stays
    with one database connection, which is closed with it.
    """
    with _Thread() as thread:
        take = sync_to_async(
            functools.partial(next, pieces, None),
            thread_sensitive=False,
            executor=thread.executor,
            context=contextvars.copy_context(),
        )
        while (piece := await take()) is not None:
            yield piece


class _Thread:
    """A thread for one stream. Nobody waits for its end: it may be in the midst of a piece."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="sync-stream")

    def __enter__(self) -> _Thread:
        return self

    def __exit__(self, *_: Any) -> None:
        self.executor.submit(connections.close_all)
        self.executor.shutdown(wait=False)
