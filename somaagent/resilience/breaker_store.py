"""A breaker's state in Valkey, as purgatory's state machine asks for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog
from purgatory import AsyncAbstractUnitOfWork
from purgatory.domain.model import CLOSED, HALF_OPENED, OPENED, Context
from purgatory.service._async.repository import AsyncAbstractRepository

from somaagent import valkey
from somaagent.observability import metrics

from . import breaker_scripts as scripts
from . import keys

logger = structlog.get_logger(__name__)

# What nobody asks for this long is forgotten: a breaker that was open is closed then.
REMEMBERED_SECONDS = 3600.0
# A breaker that was found closed and without failures is not asked about again for so long: of most calls
# nobody has to be told. What another process sees fail in that time is heard of with the next question.
WELL_SECONDS = 0.25


class State(StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


_LEVELS = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
_seen: dict[str, State] = {}
_well_until: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class Terms:
    """A breaker by its name: so many failures in a row open it, for so many seconds."""

    name: str
    failures: int
    seconds: float

    def keys(self) -> list[str]:
        return [keys.breaker(self.name), keys.NOT_CLOSED]

    def arguments(self) -> list[str | int]:
        stay = int(self.seconds * 1000)
        return [self.name, self.failures, stay, stay + int(REMEMBERED_SECONDS * 1000)]


def note(name: str, state: State) -> None:
    """Tell the metrics of a state that this process sees for the first time, or anew."""
    if _seen.get(name, State.CLOSED) is not state:
        _seen[name] = state
        metrics.BREAKER_STATE.labels(breaker=name).set(_LEVELS[state])


def is_well(name: str) -> bool:
    """Whether this process has just found the breaker closed, and knows of no failure since."""
    return _well_until.get(name, 0.0) > time.monotonic()


class ValkeyRepository(AsyncAbstractRepository):
    """The state of one breaker as one call meets it. Raises ``valkey.ERRORS``.

    What is counted and decided is decided by the scripts; the state machine's own arithmetic, on what it
    read before the call, may be behind.
    """

    def __init__(self, terms: Terms) -> None:
        self.messages = []
        self.wait_seconds = 0.0
        self._terms = terms
        self._trial = 0

    async def get(self, name: str) -> Context:
        """The breaker; half-open for the one call that is its trial, open for all that are refused."""
        asked = time.monotonic()
        found, failures, wait, self._trial = await self._run(scripts.ENTER)
        state = State(found.decode())
        if state is State.CLOSED and not failures:
            _well_until[name] = asked + WELL_SECONDS
        note(name, state)
        terms = self._terms
        if state is State.CLOSED:
            return Context(name, terms.failures, terms.seconds, CLOSED, int(failures))
        if self._trial:
            logger.info("breaker.trial", breaker=name)
            return Context(name, terms.failures, terms.seconds, HALF_OPENED)
        self.wait_seconds = wait / 1000
        # In the machine's own terms: it opened as long ago as leaves it this long to stay open.
        opened_at = time.time() - terms.seconds + self.wait_seconds
        return Context(name, terms.failures, terms.seconds, OPENED, opened_at=opened_at)

    async def register(self, context: Context) -> None:
        """Nothing is kept of a breaker that has never failed."""

    async def update_state(self, name: str, state: str, opened_at: float | None) -> None:
        del opened_at  # Valkey's clock counts, not ours
        if state == OPENED and await self._run(scripts.REOPEN):
            self._opened(name)
        elif state == CLOSED and await self._run(scripts.CLOSE):
            note(name, State.CLOSED)
            logger.info("breaker.closed", breaker=name, by="a trial")

    async def inc_failures(self, name: str, failure_count: int) -> None:
        del failure_count  # others may have counted since it was read
        _well_until.pop(name, None)
        if await self._run(scripts.FAIL):
            self._opened(name)

    async def reset_failure(self, name: str) -> None:
        del name
        await self._run(scripts.RECOVER)

    async def release(self) -> None:
        """The call told nothing: where it was the trial, another call may be."""
        if self._trial:
            await self._run(scripts.RELEASE, self._trial)

    def _opened(self, name: str) -> None:
        note(name, State.OPEN)
        metrics.BREAKER_OPENED.labels(breaker=name).inc()
        logger.warning("breaker.opened", breaker=name, seconds=self._terms.seconds)

    async def _run(self, script: str, *more: int) -> Any:
        run = valkey.client().register_script(script)
        return await run(keys=self._terms.keys(), args=[*self._terms.arguments(), *more])


class ValkeyUnitOfWork(AsyncAbstractUnitOfWork):
    """Each script is whole by itself: there is nothing to commit or to take back."""

    def __init__(self, repository: ValkeyRepository) -> None:
        self.contexts = repository

    async def commit(self) -> None:
        """See the class."""

    async def rollback(self) -> None:
        """See the class."""
