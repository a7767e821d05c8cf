"""Answers that a thread makes piece by piece."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import StreamingHttpResponse


class ThreadStream:
    """The pieces of an iterator that may wait, or read the database, each made when the one before was sent.

    It has a thread of its own: a client that reads slowly keeps none of the lane's, and the iterator stays
    with one database connection, which is closed with it.
    """

    def __init__(self, response: StreamingHttpResponse) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="sync-stream")
        self._context = contextvars.copy_context()
        self._response = response
        self._next = functools.partial(next, iter(response), None)
        response.streaming_content = self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        while (piece := await self._run(self._next)) is not None:
            yield piece

    async def close(self) -> None:
        """Close the response after the piece that is being made."""
        try:
            await self._run(self._response.close)
            await self._run(connections.close_all)
        finally:
            self._executor.shutdown(wait=False)

    async def _run(self, function: Callable[[], Any]) -> Any:
        hop = sync_to_async(function, thread_sensitive=False, executor=self._executor, context=self._context)
        return await hop()
