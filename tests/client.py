"""A client of the API that is not ours underneath: requests, and server-sent events read by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests

SECONDS = 60


@dataclass(frozen=True)
class Event:
    id: int
    type: str
    data: dict[str, Any]


@dataclass
class Client:
    """Somebody with an API key."""

    url: str
    api_key: str
    http: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.api_key}", **arguments.pop("headers", {})}
        return self.http.request(
            method,
            f"{self.url}/api/v1{path}",
            headers=headers,
            timeout=arguments.pop("timeout", SECONDS),
            **arguments,
        )

    def get(self, path: str, **arguments: Any) -> requests.Response:
        return self.call("GET", path, **arguments)

    def post(self, path: str, body: Any = None, **arguments: Any) -> requests.Response:
        return self.call("POST", path, json=body, **arguments)

    def submit(self, text: str, **facts: Any) -> dict[str, Any]:
        """A new turn, as the API describes it."""
        answer = self.post("/turns", {"input": text, **facts})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def follow(self, turn_id: str, after: int | None = None) -> Iterator[Event]:
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        with self.get(f"/turns/{turn_id}/events", headers=headers, stream=True) as answer:
            assert answer.status_code == 200, answer.text
            assert answer.headers["Content-Type"] == "text/event-stream"
            yield from events_of(answer)

    def finished(self, turn_id: str) -> dict[str, Any]:
        """The turn once its final event is there."""
        for _ in self.follow(turn_id):
            pass
        return self.get(f"/turns/{turn_id}").json()


def browserlike(url: str) -> requests.Session:
    """Somebody with a browser's cookies, but no browser, on pages of ``url``. Its requests say that they come
    from there: over HTTPS, Django refuses a form that does not.
    """
    http = requests.Session()
    http.headers["Referer"] = f"{url}/"
    return http


def events_of(answer: requests.Response) -> Iterator[Event]:
    """Server-sent events of an answer as they come; comments are passed over."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        if not line and fields:
            yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def text_of(events: list[Event]) -> str:
    return "".join(event.data["text"] for event in events if event.type == "text.delta")
