"""Stories of traces: an application is asked over ASGI, and a collector over HTTP is sent the spans."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.collector import Collector, running

STORY = """
import asyncio, sys
import structlog
from opentelemetry import trace
from somaagent.observability import logging, server_spans, tracing
logging.configure("gateway", "INFO")
tracing.configure("gateway", sys.argv[1] or None)
tracing.configure("someone-else", None)

async def application(scope, receive, send):
    structlog.get_logger("story").info("asked", path=scope["path"])
    if scope["path"] == "/crash":
        raise RuntimeError("password=hunter2hunter2")
    await send({"type": "http.response.start", "status": 503, "headers": []})
    await send({"type": "http.response.body", "body": b"secret words"})

async def ask(path, headers=()):
    async def send(message): pass
    scope = {"type": "http", "method": "GET", "path": path, "scheme": "http",
             "query_string": b"token=hunter2hunter2", "headers": list(headers)}
    try:
        await server_spans.Traced(application)(scope, None, send)
    except RuntimeError:
        pass

parent = (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
asyncio.run(ask("/turns", [parent, (b"authorization", b"Bearer hunter2hunter2")]))
asyncio.run(ask("/crash"))
asyncio.run(ask("/healthz"))
with trace.get_tracer("a library").start_as_current_span("library's own") as span:
    span.record_exception(ValueError("hunter2hunter2"))
    span.set_status(trace.StatusCode.ERROR, "hunter2hunter2")
tracing.flush()
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running() as server:
        yield server


def tell(endpoint: str) -> list[dict[str, str]]:
    done = subprocess.run(
        [sys.executable, "-c", STORY, endpoint], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_request_is_a_span_of_its_caller_s_trace_and_tells_nothing_that_was_said(collector: Collector):
    lines = tell(collector.url)
    assert lines[0]["trace_id"] == TRACE
    assert lines[1]["trace_id"] != TRACE
    assert "trace_id" not in lines[2]  # health checks come each second

    [(path, body)] = collector.received
    assert path == "/v1/traces"
    assert b"hunter2" not in body
    assert b"secret words" not in body
    [resource] = ExportTraceServiceRequest.FromString(body).resource_spans
    names = {item.key: item.value.string_value for item in resource.resource.attributes}
    assert names["service.name"] == "somaagent-gateway"
    [turns, crash], [library] = [scope.spans for scope in resource.scope_spans]
    assert turns.trace_id.hex() == TRACE
    attributes = {item.key: item.value for item in turns.attributes}
    assert attributes["url.path"].string_value == "/turns"
    assert attributes["http.response.status_code"].int_value == 503
    assert [span.status.code for span in (turns, crash, library)] == [2, 2, 2]
    assert [event.name for event in library.events] == ["exception"]


def test_without_a_collector_the_lines_have_their_ids_all_the_same():
    assert tell("")[0]["trace_id"] == TRACE
