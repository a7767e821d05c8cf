"""A turn in the hands of a host: what the host is told, and how long it may keep it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from apps.tools.tool import Caller
from somaagent.agent.messages import ModelMessage
from somaagent.agent.step_events import StepCompleted
from somaagent.tenancy.ledger.models import Source
from somaagent.tenancy.payers import Payer

from .calls import TakenUp
from .requests import Request

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a model needs to answer: the agent's instructions, what was said (oldest first), how to reach it.

    ``profiles``: the agent's own, then those that stand in for it, in order. ``told``: what was said, where
    it is more than ``messages`` can hold. ``ids``: for so many of them (of ``told``, or of ``messages``) the
    last stored message that they hold to its end, or None. ``summary`` is of what was said before them, up to
    and with the message ``summarised``; ``ratio`` how many tokens the model's server counted of late for each
    that we guess.
    """

    instructions: str
    profiles: list[ModelProfile]
    messages: list[tuple[str, str]]
    ids: Sequence[UUID | None] = ()
    summary: str = ""
    summarised: UUID | None = None
    ratio: float = 1.0
    told: Sequence[ModelMessage] | None = None

    def last_of(self, messages: int) -> UUID | None:
        """The last message that a summary of the first so many stands for; of none, of the summary.

        None where it stands for a part of the first one. Instructions among what was said are not summarised,
        nor counted here.
        """
        number = messages + self._instructions()
        return (self.ids[number - 1] if number else None) or self.summarised

    def _instructions(self) -> int:
        """How many stand before all that was said."""
        told = self.told or ()
        return next((n for n, message in enumerate(told) if message.role != "system"), len(told))


@dataclass(frozen=True, slots=True)
class UserOfTurn:
    """Whose turn it is, their role in the tenant (empty where they are no member any more), and the API key
    that they submitted it with, if one.
    """

    id: UUID
    role: str
    key_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A claimed turn, with what its host needs to answer it: the steps that are done, oldest first.

    ``question``: the message that it answers. ``agent`` is its agent's slug, ``tools`` what that may use.
    ``taken_up``: the step that another host began. ``request``: how its caller wants it answered, where they
    said. ``budgeted``: budgets apply to it. ``last_event``: the number of the last event before a pause.
    """

    turn_id: UUID
    tenant_id: UUID
    session_id: UUID
    owner: str
    attempt: int
    submitted_at: datetime
    question: UUID
    conversation: Conversation
    user: UserOfTurn
    agent_id: UUID
    agent: str
    tools: Sequence[str] = ()
    taken_up: TakenUp | None = None
    done: Sequence[StepCompleted] = ()
    request: Request | None = None
    budgeted: bool = False
    last_event: int = 0

    def caller(self) -> Caller:
        """As the tools know them."""
        user = self.user
        return Caller(self.tenant_id, user.id, user.role, self.agent, self.session_id, self.turn_id)

    def payer(self) -> Payer:
        """As the ledger knows them."""
        user, source = self.user, Source.TURN
        return Payer(self.tenant_id, user.id, source, self.turn_id, user.key_id, self.agent_id, self.agent)

    def tools_called(self) -> list[str]:
        """The names of the tools whose results the turn has."""
        called = [call.name for step in self.done for call in step.message.tool_calls]
        if self.taken_up is not None:
            called += [finished.name for finished in self.taken_up.begun.finished]
        return called


def lease_end() -> datetime:
    """Until when a host has a turn that it takes or keeps now."""
    return timezone.now() + timedelta(seconds=settings.TURN_LEASE_SECONDS)
