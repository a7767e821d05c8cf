"""Somebody follows a request into the gateway: by its spans at a collector, and by the lines in the log."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest
import requests

from tests.client import Client
from tests.journeys.gateway import Gateway
from tests.websocket import WEBSOCKET, connected

pytestmark = pytest.mark.django_db(transaction=True)

SERVER = 2
UNSET, ERROR = 0, 2
_PATIENCE = 20.0
SECRET = "hunter2hunter2"
FACTS = {"http.request.method", "http.response.status_code", "http.route", "url.path", "url.scheme"}


@pytest.fixture
def member(gateway: Gateway) -> Client:
    return Client(gateway.url, gateway.newcomer(one_time=False).api_key)


def headers_of(trace_id: str, member: Client) -> dict[str, str]:
    return {
        "traceparent": f"00-{trace_id}-b7ad6b7169203331-01",
        "Authorization": f"Bearer {member.api_key}",
        "User-Agent": SECRET,
    }


def server_spans(gateway: Gateway, trace_id: str) -> list[Any]:
    """Those of the gateway, once one has come and no more come with the spans of a later request."""
    until = time.monotonic() + _PATIENCE
    while not (found := gateway.collector.spans(trace_id)) and time.monotonic() < until:
        time.sleep(0.1)
    later = uuid.uuid4().hex
    requests.get(
        f"{gateway.url}/api/v1/health", headers={"traceparent": f"00-{later}-b7ad6b7169203331-01"}, timeout=60
    )
    while not gateway.collector.spans(later) and time.monotonic() < until:
        time.sleep(0.1)
    found = gateway.collector.spans(trace_id)
    return [span for span in found if span.kind == SERVER]


def values_of(span: Any) -> dict[str, Any]:
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


def lines_of(gateway: Gateway, trace_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if trace_id in line]
    return [line for line in lines if line["trace_id"] == trace_id]


@pytest.mark.parametrize(
    "path",
    # A thread answers the one; the event loop the other, with 503: nobody watches over this gateway.
    ["/api/v1/sessions", "/api/v1/health"],
)
def test_a_request_of_each_lane_is_one_span_and_its_lines_name_it(gateway, member, path):
    trace_id = uuid.uuid4().hex
    answer = requests.get(
        f"{gateway.url}{path}?limit=5&token={SECRET}", headers=headers_of(trace_id, member), timeout=20
    )
    (span,) = server_spans(gateway, trace_id)
    assert (span.name, span.parent_span_id.hex()) == (f"GET {path}", "b7ad6b7169203331")
    values = values_of(span)
    assert set(values) == FACTS
    assert (values["url.path"], values["http.response.status_code"]) == (path, answer.status_code)
    assert span.status.code == (ERROR if answer.status_code >= 500 else UNSET)
    lines = lines_of(gateway, trace_id)
    assert "request" in {line["event"] for line in lines}
    assert {line["span_id"] for line in lines} == {span.span_id.hex()}
    assert not any(SECRET.encode() in body for _, body in gateway.collector.received)


def test_a_websocket_is_one_span(gateway, member):
    trace_id = uuid.uuid4().hex
    headers = headers_of(trace_id, member)
    headers.pop("User-Agent")
    with connected(gateway.url + WEBSOCKET, **headers):
        pass
    (span,) = server_spans(gateway, trace_id)
    assert span.name == "WEBSOCKET /api/v1/ws"
