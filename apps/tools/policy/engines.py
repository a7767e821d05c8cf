"""What both engines have in common, and the one that runs beside this process."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from .child import Evaluator
from .failures import Failure, PolicyError
from .sources import Sources

DECISION = "somaagent/tools/decision"
APPROVAL = "somaagent/approvals/decision"


@dataclass(frozen=True, slots=True)
class Answer:
    """The value of a rule, not yet looked at, and which policy gave it (100 characters at most)."""

    value: Any
    policy: str


class Engine(Protocol):
    """Evaluates a rule for an input, given as JSON text. ``name`` is for metrics, logs and health.

    ``loaded_at``: when this process read the policy; None where it reads none.

    Raises ``PolicyError``, and nothing else, where there is no answer.
    """

    name: str
    loaded_at: datetime | None

    async def evaluate(self, rule: str, text: str) -> Answer: ...

    def close(self) -> None: ...


class EmbeddedEngine:
    """regopy, in a child of this process. Calls wait for each other: one takes about a millisecond.

    ``seconds`` bounds the wait and then the evaluation. It belongs to no event loop: any may use it.
    """

    name = "regopy"

    def __init__(self, sources: Sources, *, seconds: float) -> None:
        self.loaded_at: datetime | None = datetime.now(UTC)
        self._digest = sources.digest
        self._seconds = seconds
        self._evaluator = Evaluator(sources.modules, [DECISION, APPROVAL])
        self._lane = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policy")

    async def evaluate(self, rule: str, text: str) -> Answer:
        waited_enough = time.monotonic() + self._seconds
        work = self._lane.submit(self._evaluate, rule, text, waited_enough)
        return await asyncio.wrap_future(work)

    def _evaluate(self, rule: str, text: str, waited_enough: float) -> Answer:
        if time.monotonic() > waited_enough:
            raise PolicyError(
                Failure.TIMED_OUT, f"The policy engine was busy for {self._seconds:g} seconds. Try again."
            )
        return Answer(self._evaluator.ask(rule, text, self._seconds), self._digest)

    def close(self) -> None:
        """Ends the child. Waits for a question that is being answered."""
        self._lane.shutdown(cancel_futures=True)
        self._evaluator.end()
