"""Traces: OpenTelemetry with W3C propagation. Spans tell what ran and how long, never what was said."""

from __future__ import annotations

import os
from collections.abc import Sequence

import structlog
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .server_spans import Ids

logger = structlog.get_logger(__name__)

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
    resource = Resource.create({SERVICE_NAME: f"somaagent-{service}"})
    provider = TracerProvider(resource=resource, id_generator=Ids())
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
