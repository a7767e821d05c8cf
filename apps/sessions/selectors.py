"""Reads on agents, model profiles, sessions and messages. All run inside the tenant's scope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from somaagent.errors import Kind, SomaError, invalid, not_found
from somaagent.tenancy.actor import Actor
from somaagent.web.pagination import PageQuery

from . import branches
from .models import Agent, Message, ModelKind, ModelProfile, Session

if TYPE_CHECKING:
    from django.db.models import QuerySet


def agent_list() -> QuerySet[Agent]:
    return Agent.objects.select_related("model_profile")


def agent_get(*, slug: str | None) -> Agent:
    """The named agent, or the tenant's default where no name is given."""
    agents = agent_list()
    agent = agents.filter(slug=slug).first() if slug else agents.filter(is_default=True).first()
    if agent is None:
        raise agent_missing(slug)
    return agent


def agent_missing(slug: str | None) -> SomaError:
    """Why no agent was found by a name, or without one."""
    if slug:
        return SomaError(
            Kind.INVALID,
            "agent_unknown",
            "There is no such agent: /api/v1/agents lists them.",
            field="body.agent",
        )
    return SomaError(
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


def embedding_profile_list() -> QuerySet[ModelProfile]:
    return ModelProfile.objects.filter(kind=ModelKind.EMBEDDING)


def session_list(*, actor: Actor, archived: bool) -> QuerySet[Session]:
    # Joined, a plan that begins with the agent and reads all of its sessions would look the cheaper one.
    mine = Session.objects.filter(user_id=actor.user_id, archived_at__isnull=not archived)
    return mine.prefetch_related("agent")


def session_count() -> int:
    """All sessions of the tenant, for its operator."""
    return Session.objects.count()


def session_get(*, actor: Actor, session_id: UUID, locked: bool = False) -> Session:
    """The actor's session; ``locked``: until the transaction's end nobody else's to change."""
    sessions = Session.objects.filter(id=session_id, user_id=actor.user_id).select_related("agent")
    if locked:
        sessions = sessions.select_for_update(of=("self",), no_key=True)
    session = sessions.first()
    if session is None:
        raise not_found("session")
    return session


def message_list(*, session_id: UUID) -> QuerySet[Message]:
    """All messages of a session, of every branch."""
    return Message.objects.filter(session_id=session_id)


def replies(*, session_id: UUID, message_id: UUID) -> list[UUID]:
    """What follows a message, on whatever branch, oldest first."""
    following = message_list(session_id=session_id).filter(parent_id=message_id)
    return list(following.order_by("id").values_list("id", flat=True))


@dataclass(frozen=True, slots=True)
class Branch:
    """A part of a branch, newest first; ``next`` is the cursor of the part before, None where it begins.

    ``alternatives`` gives for each message's parent all messages that follow it, oldest first.
    """

    items: list[Message]
    next: UUID | None
    alternatives: dict[UUID | None, list[UUID]]


def message_page(*, actor: Actor, session_id: UUID, query: PageQuery, through: UUID | None = None) -> Branch:
    """Messages of the active branch, or of the branch that goes on from ``through`` to the newest."""
    session = session_get(actor=actor, session_id=session_id)
    messages = _part(session, query, through)
    more = len(messages) > query.limit
    items = messages[: query.limit]
    found = branches.alternatives(session_id=session_id, messages=items)
    return Branch(items, items[-1].id if more else None, found)


def _part(session: Session, query: PageQuery, through: UUID | None) -> list[Message]:
    if query.cursor is not None:
        behind = branches.walk_up(session_id=session.id, start=query.cursor, most=query.limit + 2)
        if not behind:
            raise invalid("query.cursor", "This is no cursor of ours: use the “next” of the page before.")
        return behind[1:]
    start = session.active_message_id
    if through is not None:
        start = branches.end_of_branch(session_id=session.id, start=through)
        if start is None:
            raise not_found("message")
    return branches.walk_up(session_id=session.id, start=start, most=query.limit + 1)
