"""A service as it runs: its state, its deaths, its last error. Its lifecycle moves it on."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from somaagent.observability.health import GOOD, ServiceHealth, State, now

from .process import Process
from .registry import Service


class Unit:
    """The life of one service. ``changed`` is called after each change of state."""

    def __init__(self, service: Service, changed: Callable[[Unit], None]) -> None:
        self.service = service
        self.state = State.WAITING
        self.since = now()
        self.entered = time.monotonic()
        self.note = ""
        self.began: float | None = None
        self.became_good: float | None = None
        self.restarts = 0
        self.last_error: str | None = None
        self.latency_ms: float | None = None
        self.process: Process | None = None
        self.ready = asyncio.Event()
        self.stopped = asyncio.Event()
        self.failing_since: float | None = None
        self._changed = changed
        self._deaths: deque[float] = deque()

    @property
    def name(self) -> str:
        return self.service.name

    @property
    def good(self) -> bool:
        return self.state in GOOD

    @property
    def boot_seconds(self) -> float:
        """How long the service took to be ready, or has taken so far."""
        if self.began is None:
            return 0.0
        return (self.became_good or time.monotonic()) - self.began

    def enter(self, state: State, *, note: str = "", error: str | None = None) -> None:
        """Move to a state; ``error`` is kept as the last error until another one replaces it."""
        if error is not None:
            self.last_error = error
        if state is not self.state:
            self.state, self.since, self.entered = state, now(), time.monotonic()
        self.note = note
        if self.began is None and state is not State.WAITING:
            self.began = time.monotonic()
        if state in GOOD:
            self.became_good = self.became_good or time.monotonic()
            self.failing_since = None
            self.ready.set()
        self._changed(self)

    def died(self) -> int:
        """Note a death; how many there were within the policy's window."""
        moment = time.monotonic()
        self._deaths.append(moment)
        while self._deaths and moment - self._deaths[0] > self.service.restart.window:
            self._deaths.popleft()
        return len(self._deaths)

    def health(self) -> ServiceHealth:
        return ServiceHealth(
            state=self.state,
            critical=self.service.critical,
            since=self.since,
            restarts=self.restarts,
            last_error=self.last_error,
            latency_ms=None if self.latency_ms is None else round(self.latency_ms, 1),
        )
