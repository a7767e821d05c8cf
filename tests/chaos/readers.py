"""Clients that never give up: each submits a turn and follows it, over whichever gateway answers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import requests

from tests.client import Client, Event, events_of

FINAL = {"turn.completed", "turn.failed", "turn.cancelled"}
AGAIN_SECONDS = 0.3
# Between two small requests: without a pause they would take a core from what is looked at.
PASSING_SECONDS = 0.02


@dataclass
class Reader:
    """One client: what it asked for, what it saw, when another host took over."""

    number: int
    text: str
    clients: list[Client]
    until: float
    turn_id: str = ""
    events: list[Event] = field(default_factory=list)
    answer: str = ""
    attempts: list[tuple[int, float]] = field(default_factory=list)
    reconnects: int = 0

    def submit(self) -> None:
        client = self.clients[self.number % len(self.clients)]
        self.turn_id = client.submit(f"slow 0.4: {self.text}")["id"]

    def follow(self) -> None:
        turn = self.number
        while not self.done and time.monotonic() < self.until:
            try:
                self._read(self.clients[turn % len(self.clients)])
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                self.reconnects += 1
            if not self.done:
                turn += 1
                time.sleep(AGAIN_SECONDS)

    def _read(self, client: Client) -> None:
        headers = {"Last-Event-ID": str(self.events[-1].id if self.events else 0)}
        with client.get(f"/turns/{self.turn_id}/events", headers=headers, stream=True) as answer:
            if answer.status_code == 503:
                return
            assert answer.status_code == 200, answer.text
            for event in events_of(answer):
                self._take(event)

    def _take(self, event: Event) -> None:
        self.events.append(event)
        if event.type == "turn.started":
            self.answer = ""
            self.attempts.append((event.data["attempt"], time.monotonic()))
        elif event.type == "text.delta":
            self.answer += event.data["text"]

    @property
    def done(self) -> bool:
        return bool(self.events) and self.events[-1].type in FINAL

    @property
    def right(self) -> bool:
        """Completed, with the whole text, by its deltas as by its last event."""
        last = self.events[-1] if self.events else None
        return (
            last is not None
            and last.type == "turn.completed"
            and last.data["text"] == self.text == self.answer
        )

    @property
    def out_of_place(self) -> int:
        """How many events came twice, not at all, or in another order."""
        return sum(event.id != place for place, event in enumerate(self.events, start=1))


@dataclass
class Passer:
    """A client of one gateway that asks small things all the time, and counts how it was answered."""

    client: Client
    answers: Counter[int] = field(default_factory=Counter)
    leaving: threading.Event = field(default_factory=threading.Event)

    def pass_by(self) -> None:
        while not self.leaving.is_set():
            try:
                self.answers[self.client.get("/agents", timeout=5).status_code] += 1
                time.sleep(PASSING_SECONDS)
            except requests.RequestException:
                # Nobody at the door: a balancer would have gone to the other gateway.
                time.sleep(0.05)

    @property
    def wronged(self) -> int:
        """Answers that a gateway must not give, also while it closes: 5xx other than 503."""
        return sum(count for status, count in self.answers.items() if status >= 500 and status != 503)


def all_at_once(readers: list[Reader], what: Callable[[Reader], None]) -> list[threading.Thread]:
    """Begin for every reader in a thread of its own; the caller joins them."""
    threads = [threading.Thread(target=what, args=(reader,), daemon=True) for reader in readers]
    for thread in threads:
        thread.start()
    return threads
