"""What is no turn pays as well: each step of a chat completion, each request for embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from somaagent.agent.events import AgentEvent, ReasoningDelta, StepStarted, TextDelta
from somaagent.agent.messages import NOTHING_USED, ModelMessage
from somaagent.agent.step_events import StepAnswered, StepCompleted
from somaagent.tenancy.ledger.statements import recorded
from somaagent.tenancy.patience import performed_patiently
from somaagent.tenancy.payers import Payer
from somaagent.tenancy.scripts import Last, Script

from .endings import Unended, guessed
from .spending import Spent, record_of

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile


class Account:
    """What a run that is no turn has used: its steps are written down as they end."""

    def __init__(self, payer: Payer, profiles: Sequence[ModelProfile]) -> None:
        self.used = NOTHING_USED
        self._payer = payer
        self._profiles = profiles
        self._unended: Unended | None = None

    async def note(self, event: AgentEvent) -> None:
        """What the engine says, before it goes on."""
        if isinstance(event, StepStarted):
            self._unended = Unended(event.step)
        elif self._unended and isinstance(event, TextDelta | ReasoningDelta):
            self._unended.written.append(event.text)
        elif isinstance(event, StepAnswered | StepCompleted):
            self._unended = None
            await charge(self._payer, Spent(event.step, event.usage, event.profile), self._profiles)
            if isinstance(event, StepCompleted):
                self.used += event.usage

    async def close(self, messages: Sequence[ModelMessage]) -> None:
        """The run is over. What a step wrote that came to no end is guessed, as of a turn."""
        spent = guessed(self._unended, messages, self._profiles[0]) if self._unended else None
        if spent is not None:
            await charge(self._payer, spent, self._profiles)


async def charge(payer: Payer, spent: Spent, profiles: Sequence[ModelProfile]) -> None:
    """Write a step down, once, and wait for it: what cannot be written down is not answered."""
    await performed_patiently(payer.tenant_id, lambda: _charged(payer, spent, profiles))


def _charged(payer: Payer, spent: Spent, profiles: Sequence[ModelProfile]) -> Script[None]:
    yield Last([recorded(record_of(payer, spent, profiles))])
