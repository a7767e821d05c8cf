"""A turn in the hands of a host: what the host is told, and how long it may keep it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from somaagent.agent.events import StepCompleted

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile

HISTORY_MESSAGES = 200


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a model needs to answer: the agent's instructions, what was said (oldest first), how to reach it.

    ``profiles``: the agent's own, then those that stand in for it, in order.
    """

    instructions: str
    profiles: list[ModelProfile]
    messages: list[tuple[str, str]]


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
