"""Traces: OpenTelemetry with W3C propagation. Spans tell what ran and how long, never what was said."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
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

_SERVER_ERROR = 500
_UNTRACED = ("/healthz", "/readyz", "/metrics", "/static/")


def configure(service: str, endpoint: str | None) -> None:
    """Gives this process its spans, named ``somaagent-<service>``, and links them to those of its tasks.

    ``endpoint`` is the base address of a collector that speaks OTLP over HTTP; without one, spans are made
    (their ids are in the log lines) but sent nowhere. The first call in a process holds. A server that
    forks calls it in its children: the thread that sends spans does not survive a fork.
    """
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
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
    """Leaves out what exceptions say: their words may quote a request, an answer or a secret. The log has
    them, masked.

    Instrumentations of libraries put them in a span's status and in its events.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_without_words(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _without_words(span: ReadableSpan) -> ReadableSpan:
    if not span.events and not span.status.description:
        return span
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=[Event(event.name, None, event.timestamp) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def name_route(method: str, route: str) -> None:
    """Name the running request's span by its address as the code knows it: without the ids in it."""
    span = trace.get_current_span()
    if span.is_recording():
        span.update_name(f"{method} /{route}")
        span.set_attribute("http.route", f"/{route}")


class Traced:
    """An ASGI application inside one span for each request and each WebSocket, part of its caller's trace.

    The span covers a streamed answer to its end. It knows the path, never the query, the headers or the body.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._tracer = trace.get_tracer("somaagent.web")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"} or scope["path"].startswith(_UNTRACED):
            await self._application(scope, receive, send)
            return
        method, path = scope.get("method", "WEBSOCKET"), scope["path"]
        with self._tracer.start_as_current_span(
            f"{method} {path}",
            context=propagate.extract(_headers(scope)),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "url.path": scope["path"],
                "url.scheme": scope["scheme"],
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            async def watched(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _describe(span, message["status"])
                await send(message)

            try:
                await self._application(scope, receive, watched)
            except Exception:
                span.set_status(Status(StatusCode.ERROR))
                raise


def _headers(scope: Scope) -> Mapping[str, str]:
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in {b"traceparent", b"tracestate"}
    }


def _describe(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= _SERVER_ERROR:
        span.set_status(Status(StatusCode.ERROR))
