"""A request of either lane is one span of its caller's trace, and tells the same facts of itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from somaagent.observability import tracing
from somaagent.web import lanes, spans
from tests.integration.web.talking import Client

pytestmark = pytest.mark.django_db(transaction=True)

LANES = pytest.mark.parametrize("lane", ["plain", "coroutine"])
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def kept() -> InMemorySpanExporter:
    """What was made, in full, before anything is left out for those outside."""
    return InMemorySpanExporter()


@pytest.fixture
def sent() -> InMemorySpanExporter:
    """What a collector is sent."""
    return InMemorySpanExporter()


@pytest.fixture(autouse=True)
def both_are_told(
    monkeypatch: pytest.MonkeyPatch, kept: InMemorySpanExporter, sent: InMemorySpanExporter
) -> Iterator[None]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    provider.add_span_processor(SimpleSpanProcessor(tracing._Discreet(sent)))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    with override_settings(MIDDLEWARE=list(settings.MIDDLEWARE)):
        yield
        DjangoInstrumentor().uninstrument()


@pytest.fixture
def gateway(both_are_told: None) -> Client:
    spans.instrument()
    return Client(lanes.Gateway())


def the_one(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    exporter.clear()
    return span


@LANES
async def test_a_request_is_one_span_of_its_caller_s_trace_named_by_its_route(
    gateway: Client, sent: InMemorySpanExporter, lane: str
):
    before = time.time_ns()
    answer = await gateway.ask(f"/{lane}?token=1", traceparent=PARENT, user_agent="curl", cookie="a=1")
    assert answer.facts["trace"] == TRACE
    assert answer.facts["query"] == {"token": "1"}
    span = the_one(sent)
    assert (span.name, span.kind, span.status.status_code) == (
        f"GET /{lane}",
        SpanKind.SERVER,
        StatusCode.UNSET,
    )
    assert trace.format_trace_id(span.context.trace_id) == TRACE
    assert trace.format_span_id(span.parent.span_id) == CALLER
    assert span.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": f"/{lane}",
        "url.path": f"/{lane}",
        "url.scheme": "http",
    }
    assert span.start_time is not None
    assert before <= span.start_time  # with the wait for a thread


async def test_each_lane_s_span_comes_from_its_own_source(gateway: Client, sent: InMemorySpanExporter):
    await gateway.ask("/v1/things")
    plain = the_one(sent)
    assert (plain.name, plain.instrumentation_scope.name) == (
        "GET /v1/things",
        "opentelemetry.instrumentation.django",
    )
    await gateway.ask("/v1/things", "POST", csrf="no")
    coroutine = the_one(sent)
    assert (coroutine.name, coroutine.instrumentation_scope.name) == ("POST /v1/things", "somaagent.web")


@LANES
@pytest.mark.parametrize(
    ("kind", "status"), [("missing", 404), ("forbidden", 403), ("suspicious", 400), ("crash", 500)]
)
async def test_only_what_is_our_fault_is_an_error(
    gateway: Client, sent: InMemorySpanExporter, lane: str, kind: str, status: int
):
    await gateway.ask(f"/{lane}/raise/{kind}")
    span = the_one(sent)
    assert span.name == f"GET /{lane}/raise/<str:kind>"
    assert span.attributes["http.response.status_code"] == status
    assert span.status.status_code == (StatusCode.ERROR if status >= 500 else StatusCode.UNSET)
    assert (span.events, span.status.description) == ((), None)


@LANES
async def test_nothing_that_was_said_is_in_a_span_even_before_it_is_sent(
    gateway: Client, kept: InMemorySpanExporter, lane: str
):
    await gateway.ask(
        f"/{lane}/raise/crash?token=hunter2",
        host="testserver:8000",
        authorization="Bearer hunter2",
        cookie="session=hunter2",
        user_agent="hunter2",
        tracestate="vendor=1",
    )
    assert "hunter2" not in the_one(kept).to_json()


@LANES
async def test_what_an_environment_asks_to_capture_is_not_sent(
    gateway: Client, sent: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, lane: str
):
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", ".*")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE", ".*")
    middleware = spans._MIDDLEWARE
    monkeypatch.setattr(middleware, "_traced_request_attrs", ["META", "GET", "headers"])
    await gateway.ask(f"/{lane}?token=hunter2", authorization="Bearer hunter2")
    assert "hunter2" not in the_one(sent).to_json()


@LANES
async def test_a_foreign_host_has_its_span_and_its_id(gateway: Client, sent: InMemorySpanExporter, lane: str):
    answer = await gateway.ask(f"/{lane}", host="evil.invalid", x_request_id="abcdefgh-1")
    assert (answer.status, answer["x-request-id"]) == (400, "abcdefgh-1")
    span = the_one(sent)
    assert (span.name, span.attributes["http.response.status_code"]) == (f"GET /{lane}", 400)


@pytest.mark.parametrize("path", ["/nothing", "/nothing/at all/ä", "[", "//x[y", "/a\tb", "*"])
async def test_an_address_without_a_view_is_one_span_too(
    gateway: Client, sent: InMemorySpanExporter, path: str
):
    assert (await gateway.ask(path)).status == 404
    span = the_one(sent)
    assert (span.name, span.attributes["url.path"]) == (f"GET {path}", path)


@LANES
@pytest.mark.parametrize("value", [b"\xff\\x", b"\xc3\xa4", b"00-0-0-01"])
async def test_a_broken_traceparent_begins_a_trace_of_its_own(
    gateway: Client, sent: InMemorySpanExporter, lane: str, value: bytes
):
    talk = gateway.begin(f"/{lane}")
    talk.scope["headers"] += [(b"traceparent", value), (b"user-agent", value)]
    await talk.send_input({"type": "http.request"})
    assert (await talk.receive_output(10))["status"] == 200
    await talk.receive_output(10)
    await talk.wait(10)
    assert the_one(sent).parent is None


async def test_a_body_that_never_came_is_a_span_without_a_status(gateway: Client, sent: InMemorySpanExporter):
    talk = gateway.begin("/plain/upload", "POST")
    await talk.send_input({"type": "http.disconnect"})
    await talk.wait(10)
    assert "http.response.status_code" not in (the_one(sent).attributes or {})


async def test_a_request_that_finds_no_thread_is_a_span_of_its_route(
    gateway: Client, sent: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lanes, "MOST_WAITING", -lanes.THREADS)
    assert (await gateway.ask("/plain")).status == 503
    span = the_one(sent)
    assert (span.name, span.status.status_code) == ("GET /plain", StatusCode.ERROR)


@LANES
async def test_a_stream_of_each_lane_is_one_span(gateway: Client, sent: InMemorySpanExporter, lane: str):
    assert (await gateway.ask(f"/{lane}/stream")).body == b"0 1 2 3 4 5 6 7 8 9 "
    assert the_one(sent).name == f"GET /{lane}/stream"


async def test_a_view_sees_its_scope_whole(gateway: Client):
    assert (await gateway.ask("/plain/scope?mark=one", user_agent="curl")).facts == {
        "query": "mark=one",
        "headers": ["host", "user-agent"],
        "client": "192.0.2.1",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_PYTHON_DJANGO_INSTRUMENT", "False"), ("OTEL_PYTHON_DJANGO_MIDDLEWARE_POSITION", "0")],
)
def test_an_environment_that_moves_the_instrumentation_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name):
        spans.instrument()


@LANES
async def test_an_environment_that_excludes_addresses_or_changes_names_changes_nothing(
    sent: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, lane: str
):
    monkeypatch.setenv("OTEL_PYTHON_DJANGO_EXCLUDED_URLS", ".*")
    monkeypatch.setenv("OTEL_PYTHON_EXCLUDED_URLS", ".*")
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http/dup")
    spans.instrument()
    await Client(lanes.Gateway()).ask(f"/{lane}")
    assert the_one(sent).attributes["url.path"] == f"/{lane}"


def test_instrumenting_again_holds_one_instrumentation():
    for _ in range(2):
        spans.instrument()
    names: list[Any] = settings.MIDDLEWARE
    assert names[1] == spans._PATH
    assert names.count(spans._PATH) == 1
