"""Speaks ASGI with an application, message by message."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from asgiref.testing import ApplicationCommunicator


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    pieces: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads(self.body)

    def __getitem__(self, name: str) -> str:
        return dict(self.headers)[name.lower()]


@dataclass
class Client:
    """Speaks ASGI with an application."""

    application: Callable[..., Any]

    def begin(self, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> Any:
        path, _, query = path.partition("?")
        given = {"host": "testserver", **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("192.0.2.1", 1234),
            "server": ("testserver", 80),
        }
        return ApplicationCommunicator(self.application, scope)

    async def ask(
        self, path: str, method: str = "GET", body: tuple[bytes, ...] = (b"",), **headers: str
    ) -> Answer:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        talk = self.begin(path, method, names)
        for number, piece in enumerate(body, 1):
            await talk.send_input({"type": "http.request", "body": piece, "more_body": number < len(body)})
        answer = await started(talk)
        while True:
            message = await talk.receive_output(10)
            answer.pieces.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        await talk.wait(10)
        return answer


async def started(talk: Any) -> Answer:
    message = await talk.receive_output(10)
    headers = [(name.decode().lower(), value.decode("latin-1")) for name, value in message["headers"]]
    return Answer(message["status"], headers)
