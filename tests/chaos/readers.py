"""Clients that never give up: each submits a turn and follows it, over whichever gateway answers."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import requests

from tests.chaos.ledger import Ledger
from tests.client import Client, Event, events_of

FINAL = {"turn.completed", "turn.failed", "turn.cancelled"}
AGAIN_SECONDS = 0.3
# In the ledger, of each turn: each waits for approval, and takes a while.
ENTRIES = 3
# Between two small requests: without a pause they would take a core from what is looked at.
PASSING_SECONDS = 0.02


@dataclass
class Reader:
    """One client: what it asked for, what it saw, when another host took over."""

    number: int
    text: str
    clients: list[Client]
    until: float
    ledger: Ledger
    turn_id: str = ""
    events: list[Event] = field(default_factory=list)
    answer: str = ""
    attempts: list[tuple[int, float]] = field(default_factory=list)
    reconnects: int = 0
    questions: int = 0

    @property
    def entries(self) -> list[str]:
        """What its turn enters in the ledger, one after the other."""
        return [f"t{self.number}e{place}" for place in range(ENTRIES)]

    def submit(self) -> None:
        client = self.clients[self.number % len(self.clients)]
        calls = [[{"name": "ledger__enter", "arguments": {"entry": entry}}] for entry in self.entries]
        told = [f"calls: {json.dumps(call)}" for call in calls] + [f"slow 0.4: {self.text}"]
        self.turn_id = client.submit("\nthen ".join(told))["id"]

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
        before = self.events[-1].type if self.events else ""
        self.events.append(event)
        if event.type == "turn.started":
            self.answer = ""
            if before != "turn.awaiting_approval":  # after one it goes on because it was answered
                self.attempts.append((event.data["attempt"], time.monotonic()))
        elif event.type == "turn.awaiting_approval":
            self._answer()
        elif event.type == "text.delta":
            self.answer += event.data["text"]

    def _answer(self) -> None:
        """Approve what waits; what may have taken effect already, only where the ledger has no such entry."""
        turn = self.number
        while time.monotonic() < self.until:
            client = self.clients[turn % len(self.clients)]
            turn += 1
            try:
                found = client.get(f"/turns/{self.turn_id}/approvals", timeout=10)
                if found.status_code == 200 and self._answered(client, found.json()["items"]):
                    return
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                self.reconnects += 1
            time.sleep(AGAIN_SECONDS)

    def _answered(self, client: Client, items: list[dict[str, Any]]) -> bool:
        asked = [item for item in items if item["answer"] is None]
        answers = [{"call_id": item["call_id"], "decision": self._decision(item)} for item in asked]
        if not answers:
            return True  # an answer got through whose own answer did not
        given = client.post(f"/turns/{self.turn_id}/approvals", {"calls": answers})
        self.questions += given.status_code == 200
        return given.status_code in (200, 409)

    def _decision(self, item: dict[str, Any]) -> str:
        done = "may have taken effect" in item["reason"] and item["arguments"]["entry"] in self.ledger.entries
        return "deny" if done else "approve"

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
    def failed_calls(self) -> list[Event]:
        """Calls that came to no result, for another reason than that they were made already."""
        finished = [event for event in self.events if event.type == "tool.finished"]
        return [event for event in finished if event.data["outcome"] not in ("ok", "cut_short")]

    @property
    def duplicated(self) -> int:
        """How many events came again, or after a later one."""
        ids = [event.id for event in self.events]
        return sum(later <= highest for later, highest in zip(ids[1:], accumulate(ids, max), strict=False))

    @property
    def skipped(self) -> int:
        """How many events before its last one never came."""
        ids = {event.id for event in self.events}
        return max(ids, default=0) - len(ids)


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
