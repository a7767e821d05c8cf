"""A turn in the hands of a host: what the host is told, and how long it may keep it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from somaagent.agent.events import StepCompleted

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a model needs to answer: the agent's instructions, what was said (oldest first), how to reach it.

    ``profiles``: the agent's own, then those that stand in for it, in order. ``ids`` are those of the
    messages. ``summary`` is of what was said before them, up to and with the message ``summarised``;
    ``ratio`` how many tokens the model's server counted of late for each that we guess.
    """

    instructions: str
    profiles: list[ModelProfile]
    messages: list[tuple[str, str]]
    ids: list[UUID] = field(default_factory=list)
    summary: str = ""
    summarised: UUID | None = None
    ratio: float = 1.0

    def last_of(self, messages: int) -> UUID:
        """The last message that a summary of the first so many stands for; of none, of the summary."""
        if messages:
            return self.ids[messages - 1]
        if self.summarised is None:
            raise ValueError("Nothing was said before.")
        return self.summarised


@dataclass(frozen=True, slots=True)
class Work:
    """A claimed turn, with what its host needs to answer it: the steps that are done, oldest first."""

    turn_id: UUID
    tenant_id: UUID
    session_id: UUID
    owner: str
    attempt: int
    submitted_at: datetime
    conversation: Conversation
    done: Sequence[StepCompleted] = ()


def lease_end() -> datetime:
    """Until when a host has a turn that it takes or keeps now."""
    return timezone.now() + timedelta(seconds=settings.TURN_LEASE_SECONDS)
