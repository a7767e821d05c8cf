"""Reads on agents, model profiles, sessions and messages. All run inside the tenant's scope.

What the API is asked most is a script (``somaagent.tenancy.scripts``), for either lane.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from somaagent.errors import Kind, SomaError, not_found
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.scripts import Script, Statement, rows_of
from somaagent.web.pagination import PageQuery, Part, cursor_unknown, page_script

from . import branches
from .branches import MessageRow
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


class SessionRow(NamedTuple):
    """A session as it is told: ``agent`` is the slug."""

    id: UUID
    title: str
    agent: str
    created_at: datetime
    archived_at: datetime | None
    active_message_id: UUID | None


# Joined, a plan that begins with the agent and reads all of its sessions would look the cheaper one.
_SESSIONS = """
SELECT id, title, (SELECT slug FROM agent_sessions_agent agent WHERE agent.id = session.agent_id),
    created_at, archived_at, active_message_id
FROM agent_sessions_session session WHERE user_id = %(user)s
"""


def session_page(*, actor: Actor, archived: bool, query: PageQuery) -> Script[Part[SessionRow]]:
    """The actor's sessions, newest first."""
    sql = f"{_SESSIONS} AND archived_at IS {'NOT ' if archived else ''}NULL"
    return page_script(sql, {"user": actor.user_id}, SessionRow, query)


def session_told(*, actor: Actor, session_id: UUID) -> Script[SessionRow]:
    """The actor's session. Raises ``not_found``."""
    facts = {"user": actor.user_id, "session": session_id}
    rows = yield from rows_of(Statement(f"{_SESSIONS} AND id = %(session)s", facts))
    if not rows:
        raise not_found("session")
    return SessionRow(*rows[0])


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


def message_page(
    *, actor: Actor, session_id: UUID, query: PageQuery, through: UUID | None = None
) -> Script[Part[MessageRow]]:
    """Messages of the active branch, or of the branch that goes on from ``through`` to the newest.

    Newest first; the cursor is that of the part before. Raises ``not_found``, for ``through`` too.
    """
    start = query.cursor
    if start is None and through is not None:
        start = yield from _end_of_branch(actor, session_id, through)
    # The row of a cursor was on the page before.
    passed = 0 if query.cursor is None else 1
    most = query.limit + passed + 1
    mine, found = yield [
        _session_of(actor, session_id),
        branches.walk_up(session_id=session_id, start=start, most=most),
    ]
    if not mine:
        raise not_found("session")
    if query.cursor is not None and not found:
        raise cursor_unknown()
    return Part.of([MessageRow(*row) for row in found[passed:]], query.limit)


def _end_of_branch(actor: Actor, session_id: UUID, through: UUID) -> Script[UUID]:
    mine, found = yield [
        _session_of(actor, session_id),
        branches.end_of_branch(session_id=session_id, start=through),
    ]
    if not found:
        raise not_found("message" if mine else "session")
    end: UUID = found[0][0]
    return end


def _session_of(actor: Actor, session_id: UUID) -> Statement:
    """One row if the session is the actor's."""
    sql = "SELECT id FROM agent_sessions_session WHERE id = %(session)s AND user_id = %(user)s"
    return Statement(sql, {"session": session_id, "user": actor.user_id})
