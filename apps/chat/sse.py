"""Answers of server-sent events (WHATWG HTML, section 9.2), and a turn's records as such events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import TypeVar

import structlog
from django.http import StreamingHttpResponse

from somaagent.errors import invalid
from somaagent.observability import metrics

from .standing import CredentialEnded
from .taps import Record

T = TypeVar("T")

logger = structlog.get_logger(__name__)

HEARTBEAT = b": still here\n\n"
# The largest integer that every JSON reader keeps exact (RFC 8259, section 6).
LARGEST_CURSOR = 2**53 - 1
CURSOR_DIGITS = 16


class EventStream(StreamingHttpResponse):
    """Django's, without its wrappers around each of thousands of streams: what it holds is bytes."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._iterator

    _iterator: AsyncIterator[bytes]


def response_of(
    events: AsyncGenerator[T | None, None], encode: Callable[[T], bytes]
) -> StreamingHttpResponse:
    """The events as they come; None, or nothing, keeps the connection alive. It is an open stream while it is
    read.
    """
    response = EventStream(_encoded(events, encode), content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


async def _encoded(
    events: AsyncGenerator[T | None, None], encode: Callable[[T], bytes]
) -> AsyncGenerator[bytes, None]:
    metrics.STREAMS_OPEN.inc()
    try:
        async with aclosing(events):
            async for event in events:
                yield encode(event) if event else HEARTBEAT
                del event  # it may be hours until there is another
    except CredentialEnded:
        # The status is long sent. Who connects again is told why.
        logger.info("stream.credential_ended")
    finally:
        metrics.STREAMS_OPEN.dec()


def encode(records: Iterable[Record]) -> bytes:
    """Events that are there together, to be written at once."""
    return b"".join(
        b"id: %d\nevent: %s\ndata: %s\n\n" % (record.sequence, record.type.encode(), record.data)
        for record in records
    )


def cursor_of(last_event_id: str | None, after: int | None) -> int:
    """Where a client left off: ``Last-Event-ID``, which a browser sends by itself, else ``?after=``."""
    if last_event_id is None or last_event_id == "":
        return after or 0
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= CURSOR_DIGITS):
        raise invalid("header.Last-Event-ID", "Send the id of the last event that came, a whole number.")
    return min(int(last_event_id), LARGEST_CURSOR)
