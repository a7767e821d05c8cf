"""A collector that is sent spans over OTLP and HTTP, and keeps them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from somaagent.embedded.addresses import loopback


class Collector(HTTPServer):
    """``received``: the path and the body of each request."""

    def __init__(self) -> None:
        super().__init__((loopback(), 0), _Receive)
        self.received: list[tuple[str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://{self.server_name}:{self.server_port}/"

    def spans(self, trace_id: str) -> list[Any]:
        """The spans of one trace that have come so far."""
        return [
            span
            for _, body in list(self.received)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if span.trace_id.hex() == trace_id
        ]


class _Receive(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def running() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
