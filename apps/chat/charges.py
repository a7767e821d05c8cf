"""What is no turn pays as well: each step of a chat completion, each request for embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings

from somaagent.agent.events import AgentEvent, ReasoningDelta, StepStarted, TextDelta
from somaagent.agent.messages import NOTHING_USED, ModelMessage
from somaagent.agent.ports import ChatModel
from somaagent.agent.step_events import StepAnswered, StepCompleted
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.budgets import statements as budgets
from somaagent.tenancy.budgets.standing import refuse_spent
from somaagent.tenancy.ledger.models import UsageRecord
from somaagent.tenancy.ledger.statements import recorded
from somaagent.tenancy.outbox.statements import told
from somaagent.tenancy.patience import performed_patiently
from somaagent.tenancy.payers import Payer
from somaagent.tenancy.scripts import Last, Script, Statement, performed, rows_of, together

from . import meter
from .endings import Unended, guessed, said_in
from .meter import MeteredModel
from .spending import Spent, record_of

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile


def affordable(actor: Actor, agent_id: UUID | None) -> bool:
    """Whether budgets apply to a run of the actor's. Raises ``budget_exceeded`` where one has nothing left.

    Runs inside the tenant's scope.
    """
    some = performed(rows_of(budgets.some()))
    applied = budgets.applied(some, user_id=actor.user_id, key_id=actor.key_id, agent_id=agent_id)
    applying = performed(applied)
    refuse_spent(applying)
    return bool(applying)


class Account:
    """What a run that is no turn uses: its steps are written down as they end, and counted in the budgets
    where some apply (``budgeted``).
    """

    def __init__(self, payer: Payer, profiles: Sequence[ModelProfile], *, budgeted: bool) -> None:
        self.used = NOTHING_USED
        self._payer = payer
        self._profiles = profiles
        self._budgeted = budgeted
        self._reserved = False
        self._unended: Unended | None = None
        self._owed: UsageRecord | None = None
        self._steps: list[StepCompleted] = []

    def metered(self, model: ChatModel) -> ChatModel:
        """The model, asked only while the budgets have something left."""
        if not self._budgeted:
            return model
        self._reserved = True
        return MeteredModel(model, self._payer, self._profiles, _longest())

    async def reserve(self, *, read: int) -> None:
        """For a request that reads so many tokens and writes none. Raises as ``MeteredModel``."""
        if self._budgeted:
            await meter.reserve(self._payer, self._profiles, read=read, written=0, seconds=_longest())
            self._reserved = True

    async def note(self, event: AgentEvent) -> None:
        """What the engine says, before it goes on."""
        if isinstance(event, StepStarted):
            self._unended = Unended(event.step)
        elif self._unended and isinstance(event, TextDelta | ReasoningDelta):
            self._unended.written.append(event.text)
        elif self._unended and isinstance(event, StepAnswered | StepCompleted):
            # Where tools are called both come, and the first one counts.
            self._unended = None
            await self.charge(Spent(event.step, event.usage, event.profile))
        if isinstance(event, StepCompleted):
            self._steps.append(event)

    async def charge(self, spent: Spent) -> None:
        """Write a step down, once, and wait for it: what cannot be written down is not answered.

        Whoever is cancelled meanwhile owes it still: ``close`` writes it down.
        """
        row = record_of(self._payer, spent, self._profiles)
        self.used += spent.usage
        try:
            await self._write(row)
        except asyncio.CancelledError:
            self._owed = row
            raise

    async def _write(self, row: UsageRecord) -> None:
        """The same row may be written twice, also where the first time is on its way."""
        if self._budgeted:
            await self._do(*budgets.settled([row], self._payer))
        else:
            event, record = recorded(row)
            await self._do(together(told(event), record))

    async def close(self, messages: Sequence[ModelMessage] = ()) -> None:
        """The run is over. What a step wrote that came to no end is guessed, as of a turn: ``messages`` are
        what the run began with.
        """
        if self._owed is not None:
            await self._write(self._owed)
            return
        read = [*messages, *said_in(self._steps)]
        spent = guessed(self._unended, read, self._profiles[0]) if self._unended else None
        if spent is not None:
            await self.charge(spent)
        elif self._reserved:
            await self._do(budgets.freed(self._payer.run_id))

    async def _do(self, *writes: Statement) -> None:
        def script() -> Script[None]:
            yield Last(writes)

        await performed_patiently(self._payer.tenant_id, script)


def _longest() -> float:
    """Seconds that a reservation lasts which nobody moves on."""
    seconds: int = settings.TURN_TIMEOUT_SECONDS
    return seconds
