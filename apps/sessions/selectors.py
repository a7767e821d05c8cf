"""Reads on agents, model profiles, sessions and messages. All run inside the tenant's scope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from somaagent.errors import Kind, SomaError, not_found
from somaagent.tenancy.actor import Actor

from .models import Agent, Message, ModelProfile, Session

if TYPE_CHECKING:
    from django.db.models import QuerySet


def agent_list() -> QuerySet[Agent]:
    return Agent.objects.select_related("model_profile")


def agent_get(*, slug: str | None) -> Agent:
    """The named agent, or the tenant's default where no name is given."""
    agents = agent_list()
    agent = agents.filter(slug=slug).first() if slug else agents.filter(is_default=True).first()
    if agent is not None:
        return agent
    if slug:
        raise SomaError(
            Kind.INVALID,
            "agent_unknown",
            "There is no such agent: /api/v1/agents lists them.",
            field="body.agent",
        )
    raise SomaError(
        Kind.CONFLICT,
        "agent_default_missing",
        "No agent is the default one: name one, or choose it in the admin.",
    )


def agent_read(*, slug: str) -> Agent:
    agent = agent_list().filter(slug=slug).first()
    if agent is None:
        raise not_found("agent")
    return agent


def model_profile_read(*, slug: str) -> ModelProfile:
    profile = model_profile_list().filter(slug=slug).first()
    if profile is None:
        raise not_found("model profile")
    return profile


def model_profile_list() -> QuerySet[ModelProfile]:
    return ModelProfile.objects.select_related("fallback")


def session_list(*, actor: Actor, archived: bool) -> QuerySet[Session]:
    return Session.objects.filter(user_id=actor.user_id, archived_at__isnull=not archived).select_related(
        "agent"
    )


def session_count() -> int:
    """All sessions of the tenant, for its operator."""
    return Session.objects.count()


def session_get(*, actor: Actor, session_id: UUID) -> Session:
    session = Session.objects.filter(id=session_id, user_id=actor.user_id).select_related("agent").first()
    if session is None:
        raise not_found("session")
    return session


def message_list(*, actor: Actor, session_id: UUID) -> QuerySet[Message]:
    return Message.objects.filter(session=session_get(actor=actor, session_id=session_id))


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a model needs to answer: the agent's instructions, what was said (oldest first), how to reach it.

    ``profiles``: the agent's own, then those that stand in for it, in order.
    """

    instructions: str
    profiles: list[ModelProfile]
    messages: list[tuple[str, str]]


def conversation(*, session_id: UUID, up_to: UUID, most: int) -> Conversation | None:
    """The last ``most`` messages up to and with one of them; None where the session is gone."""
    session = Session.objects.filter(id=session_id).select_related("agent__model_profile").first()
    if session is None:
        return None
    newest = Message.objects.filter(session_id=session_id, id__lte=up_to).order_by("-id")[:most]
    messages = [(message.role, message.text) for message in reversed(newest) if message.text]
    return Conversation(session.agent.instructions, session.agent.model_profile.chain(), messages)
