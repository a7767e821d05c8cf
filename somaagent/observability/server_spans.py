"""The span of each request and WebSocket, and what it tells of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_SERVER_ERROR = 500
UNTRACED = ("/healthz", "/readyz", "/metrics", "/static/")


def is_traced(path: str) -> bool:
    """Whether requests of this path have spans: probes, which come each few seconds, and files have none."""
    return not path.startswith(UNTRACED)


def name_of(scope: Scope, route: str | None = None) -> str:
    """A server span's name: the method and the route, without the ids in it, or else the path."""
    return f"{_method(scope)} {scope['path'] if route is None else f'/{route}'}"


def facts_of(scope: Scope, route: str | None = None) -> dict[str, str]:
    """What a server span tells of its request: the path, never the query, the headers or the body."""
    facts = {
        "http.request.method": _method(scope),
        "url.path": scope["path"],
        "url.scheme": scope["scheme"],
    }
    return facts if route is None else facts | {"http.route": f"/{route}"}


def context_headers(scope: Scope) -> dict[str, str]:
    """The headers that name the caller's trace. One that is not text of ASCII names none."""
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in {b"traceparent", b"tracestate"} and value.isascii()
    }


def note_status(span: Span, status: int) -> None:
    """Tells the answer's status. Those from 500 on are errors of ours, those before are the caller's."""
    span.set_attribute("http.response.status_code", status)
    if status >= _SERVER_ERROR:
        span.set_status(Status(StatusCode.ERROR))


_given: ContextVar[SpanContext | None] = ContextVar("given", default=None)


class Ids(RandomIdGenerator):
    """Random ones, or those that were given out before their span is made."""

    def generate_span_id(self) -> int:
        given = _given.get()
        return super().generate_span_id() if given is None else given.span_id

    def generate_trace_id(self) -> int:
        given = _given.get()
        return super().generate_trace_id() if given is None else given.trace_id


class ServerSpans:
    """The one span of a request or a WebSocket, as part of its caller's trace.

    It is made when it is over: until then there are its ids, for lines and for the spans below it. An answer
    may be a stream of hours, one of thousands, and a span is a tenth of what such a stream keeps.
    """

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("somaagent.web")

    @contextmanager
    def around(
        self, scope: Scope, send: Send, *, route: str | None = None, since: int | None = None
    ) -> Iterator[Send]:
        """A span around what the block does; it notes the status of the answer that goes through the ``Send``
        given here. ``since``: when the request came, in nanoseconds since 1970; now if not given.
        """
        provider = trace.get_tracer_provider()
        if not (is_traced(scope["path"]) and isinstance(provider, TracerProvider)):
            yield send
            return
        parent = propagate.extract(context_headers(scope))
        facts: dict[str, Any] = {
            "name": name_of(scope, route),
            "kind": SpanKind.SERVER,
            "attributes": facts_of(scope, route),
        }
        given = _begun(provider, parent, facts)
        since, status, failed = since or time.time_ns(), None, False

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = context.attach(trace.set_span_in_context(NonRecordingSpan(given), parent))
        try:
            yield watched
        except Exception:
            failed = True
            raise
        finally:
            context.detach(token)
            if given.trace_flags.sampled:
                self._make(given, parent, since, status, failed=failed, **facts)

    def _make(
        self,
        given: SpanContext,
        parent: context.Context,
        since: int,
        status: int | None,
        *,
        failed: bool,
        **facts: Any,
    ) -> None:
        token = _given.set(given)
        try:
            span = self._tracer.start_span(context=parent, start_time=since, **facts)
        finally:
            _given.reset(token)
        if status is not None:
            note_status(span, status)
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def _begun(provider: TracerProvider, parent: context.Context, facts: dict[str, Any]) -> SpanContext:
    """The ids of a span that is to be made, and whether it is sampled."""
    above = trace.get_current_span(parent).get_span_context()
    trace_id = above.trace_id if above.is_valid else provider.id_generator.generate_trace_id()
    sampled = provider.sampler.should_sample(parent, trace_id, **facts)
    flags = TraceFlags(
        TraceFlags.SAMPLED if sampled.decision is Decision.RECORD_AND_SAMPLE else TraceFlags.DEFAULT
    )
    span_id = provider.id_generator.generate_span_id()
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags, trace_state=sampled.trace_state)


class Traced:
    """An ASGI application inside one span for each request and each WebSocket, to the answer's end.

    The gateway's HTTP opens its spans itself, by lane (``somaagent.web.lanes``).
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._spans = ServerSpans()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._application(scope, receive, send)
            return
        with self._spans.around(scope, send) as watched:
            await self._application(scope, receive, watched)


def _method(scope: Scope) -> str:
    return str(scope.get("method", "WEBSOCKET"))
