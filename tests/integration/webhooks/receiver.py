"""A user's server that receives webhooks: real HTTP, and it verifies as the specification's library does."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook as Verifier

from somaagent.embedded.addresses import loopback


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> dict[str, Any]:
        """The message, if its signature is the secret's; else the library raises."""
        return Verifier(secret).verify(self.body, self.headers)

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class Receiver:
    """What came, and what the next ones are answered with (200 where nothing is said)."""

    port: int = 0
    came: list[Received] = field(default_factory=list)
    answers: deque[int | float | str] = field(default_factory=deque)

    @property
    def url(self) -> str:
        return f"http://{loopback()}:{self.port}/hook"

    def will(self, *answers: int | float | str) -> None:
        """A status, a pause in seconds before 200 (a float), or where a redirect leads to."""
        self.answers.extend(answers)


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.came.append(Received(self.path, headers, body))
            answer = receiver.answers.popleft() if receiver.answers else 200
            if isinstance(answer, float):
                time.sleep(answer)
            self.send_response(answer if isinstance(answer, int) else 302 if isinstance(answer, str) else 200)
            if isinstance(answer, str):
                self.send_header("Location", answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it
            """Nothing: the test says what came."""

    server = ThreadingHTTPServer((loopback(), 0), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
