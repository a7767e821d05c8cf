"""Traces: OpenTelemetry with W3C propagation. Spans tell what ran and how long, never what was said."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = structlog.get_logger(__name__)

_SERVER_ERROR = 500
UNTRACED = ("/healthz", "/readyz", "/metrics", "/static/")
# All that leaves this process about a request, whoever made its span.
_SERVER_FACTS = frozenset(
    {"http.request.method", "http.response.status_code", "http.route", "url.path", "url.scheme"}
)


def configure(service: str, endpoint: str | None) -> None:
    """Gives this process its spans, named ``somaagent-<service>``, and links them to those of its tasks.

    ``endpoint`` is the base address of a collector that speaks OTLP over HTTP; without one, spans are made
    (their ids are in the log lines) but sent nowhere. The first call in a process holds. A server that
    forks calls it in its children: the thread that sends spans does not survive a fork.
    """
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    if os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true":
        logger.warning(
            "tracing.off", reason=f"{OTEL_SDK_DISABLED} is true: no spans, and no trace_id in lines."
        )
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: f"somaagent-{service}"}))
    if endpoint:
        # fmt: off
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 heavy, for collectors
            OTLPSpanExporter,
        )
        # fmt: on

        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(_Discreet(exporter)))
    trace.set_tracer_provider(provider)
    # Without baggage, which would carry values of strangers through our services.
    propagate.set_global_textmap(TraceContextTextMapPropagator())
    CeleryInstrumentor().instrument(tracer_provider=provider)  # type: ignore[no-untyped-call]


def flush() -> None:
    """Sends what is still held; for the end of a process that does not end by itself."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.force_flush()


class _Discreet(SpanExporter):
    """Leaves out what nobody outside should read, whatever an instrumentation or its environment put there.

    Words of exceptions, which instrumentations put in a span's status and in its events, may quote a request,
    an answer or a secret; the log has them, masked. Of a request only ``_SERVER_FACTS`` are told: other
    attributes hold addresses with their queries, headers, and who asked.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_discreet(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _discreet(span: ReadableSpan) -> ReadableSpan:
    attributes = dict(span.attributes or {})
    if span.kind is SpanKind.SERVER:
        attributes = {name: value for name, value in attributes.items() if name in _SERVER_FACTS}
    if not span.events and not span.status.description and len(attributes) == len(span.attributes or {}):
        return span
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=[Event(event.name, None, event.timestamp) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


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


class ServerSpans:
    """Opens the one span of a request or a WebSocket, as part of its caller's trace."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("somaagent.web")

    @contextmanager
    def around(
        self, scope: Scope, send: Send, *, route: str | None = None, since: int | None = None
    ) -> Iterator[Send]:
        """A span around what the block does; it notes the status of the answer that goes through the ``Send``
        given here. ``since``: when the request came, in nanoseconds since 1970; now if not given.
        """
        if not is_traced(scope["path"]):
            yield send
            return
        with self._tracer.start_as_current_span(
            name_of(scope, route),
            context=propagate.extract(context_headers(scope)),
            kind=SpanKind.SERVER,
            attributes=facts_of(scope, route),
            start_time=since,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            async def watched(message: Message) -> None:
                if message["type"] == "http.response.start":
                    note_status(span, message["status"])
                await send(message)

            try:
                yield watched
            except Exception:
                span.set_status(Status(StatusCode.ERROR))
                raise


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
