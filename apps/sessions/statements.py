"""What a turn needs of a session, as statements (see ``somaagent.tenancy.scripts``)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from somaagent.errors import not_found
from somaagent.tenancy.scripts import Row, Script, Statement, columns, fresh, inserted, read, relate

from .models import MOST_FALLBACKS, Agent, Message, MessageRole, ModelProfile, Session
from .selectors import agent_missing

if TYPE_CHECKING:
    from django.db import models

HISTORY_AT_ONCE = 500
_ITS_PROFILE = "JOIN agent_sessions_modelprofile profile ON profile.id = agent.model_profile_id"
_HISTORY = """
WITH RECURSIVE branch AS (
    SELECT id, parent_id, role, text, summary, 1 AS place
    FROM agent_sessions_message WHERE id = %(end)s AND session_id = %(session)s
    UNION ALL
    SELECT before.id, before.parent_id, before.role, before.text, before.summary, branch.place + 1
    FROM branch JOIN agent_sessions_message before ON before.id = branch.parent_id
    WHERE branch.place < %(most)s AND (branch.summary = '' OR branch.id = %(question)s)
)
SELECT id, parent_id, role, text, summary FROM branch ORDER BY place
"""

_BRANCH = """
WITH RECURSIVE branch AS (
    SELECT id, parent_id, role, text, complete, 1 AS place
    FROM agent_sessions_message WHERE id = %(end)s AND session_id = %(session)s
    UNION ALL
    SELECT before.id, before.parent_id, before.role, before.text, before.complete, branch.place + 1
    FROM branch JOIN agent_sessions_message before ON before.id = branch.parent_id
)
SELECT id, role, text, complete FROM branch ORDER BY place DESC
"""


@functools.cache
def _agent() -> str:
    """The columns that ``agent_of`` reads."""
    return f"{columns(Agent, 'agent')}, {columns(ModelProfile, 'profile')}"


def agent_named(slug: str | None) -> Statement:
    """The named agent, or the tenant's default where no name is given; with its model profile."""
    which = "agent.slug = %(slug)s" if slug else "agent.is_default"
    sql = f"SELECT {_agent()} FROM agent_sessions_agent agent {_ITS_PROFILE} WHERE {which}"  # noqa: S608 ours
    return Statement(sql, {"slug": slug})


def agent_of(rows: Sequence[Row], slug: str | None) -> Agent:
    """The agent, its model profile at hand."""
    if not rows:
        raise agent_missing(slug)
    return _agent_in(rows[0])


def _agent_in(row: Row) -> Agent:
    width = _width(Agent)
    agent = read(Agent, row[:width])
    relate(agent, "model_profile", read(ModelProfile, row[width:]))
    return agent


def _width(model: type[models.Model]) -> int:
    return len(model._meta.concrete_fields)  # noqa: SLF001 Django's documented model API


def session_taken(*, session_id: UUID, user_id: UUID) -> Statement:
    """A user's session with its agent, until the transaction's end nobody else's to change."""
    sql = f"""
        SELECT {columns(Session, "session")}, {_agent()}
        FROM agent_sessions_session session JOIN agent_sessions_agent agent ON agent.id = session.agent_id
        {_ITS_PROFILE}
        WHERE session.id = %(session)s AND session.user_id = %(user)s FOR NO KEY UPDATE OF session
    """  # noqa: S608 columns of ours
    return Statement(sql, {"session": session_id, "user": user_id})


def session_of(rows: Sequence[Row]) -> Session:
    """The session, with its agent and that one's model profile at hand."""
    if not rows:
        raise not_found("session")
    width = _width(Session)
    session = read(Session, rows[0][:width])
    relate(session, "agent", _agent_in(rows[0][width:]))
    return session


def session_held(session_id: UUID) -> Statement:
    """Anybody's session of the tenant, for its turns' hosts: locked as in ``session_taken``."""
    sql = "SELECT id FROM agent_sessions_session WHERE id = %(session)s FOR NO KEY UPDATE"
    return Statement(sql, {"session": session_id})


def session_agent(session_id: UUID) -> Statement:
    """The agent of a session, with its model profile."""
    sql = f"""
        SELECT {_agent()}
        FROM agent_sessions_session session JOIN agent_sessions_agent agent ON agent.id = session.agent_id
        {_ITS_PROFILE}
        WHERE session.id = %(session)s
    """  # noqa: S608 columns of ours
    return Statement(sql, {"session": session_id})


def agent_slugs(session_ids: Sequence[UUID]) -> Statement:
    """Which agent answers in these sessions: session, slug."""
    sql = """
        SELECT session.id, agent.slug
        FROM agent_sessions_session session JOIN agent_sessions_agent agent ON agent.id = session.agent_id
        WHERE session.id = ANY(%(sessions)s)
    """
    return Statement(sql, {"sessions": list(session_ids)})


def profiles(agent: Agent) -> Script[list[ModelProfile]]:
    """The agent's model profile and those that stand in for it, in order: none of them twice."""
    if agent.model_profile.fallback_id is None:
        return [agent.model_profile]
    sql = f"""
        WITH RECURSIVE chain AS (
            SELECT id, fallback_id, 1 AS place, ARRAY[id] AS seen
            FROM agent_sessions_modelprofile WHERE id = %(first)s
            UNION ALL
            SELECT following.id, following.fallback_id, chain.place + 1, chain.seen || following.id
            FROM chain JOIN agent_sessions_modelprofile following ON following.id = chain.fallback_id
            WHERE chain.place <= %(most)s AND following.id <> ALL(chain.seen)
        )
        SELECT {columns(ModelProfile, "profile")}
        FROM chain JOIN agent_sessions_modelprofile profile ON profile.id = chain.id ORDER BY chain.place
    """  # noqa: S608 columns of ours
    (rows,) = yield [Statement(sql, {"first": agent.model_profile_id, "most": MOST_FALLBACKS})]
    return [read(ModelProfile, row) for row in rows]


def history(*, session_id: UUID, end: UUID | None, question: UUID) -> Statement:
    """The messages of the branch that ends with ``end``, newest first: id, parent, role, text, summary.

    Not further than to one that has a summary, and no more than ``HISTORY_AT_ONCE``. The summary of the
    ``question`` itself, which is answered, is passed over.
    """
    facts = {"session": session_id, "end": end, "question": question, "most": HISTORY_AT_ONCE}
    return Statement(_HISTORY, facts)


def summarised(*, session_id: UUID, message_id: UUID, summary: str) -> Statement:
    """Keeps a summary of what was said up to and with a message."""
    sql = """
        UPDATE agent_sessions_message SET summary = %(summary)s
        WHERE id = %(message)s AND session_id = %(session)s
    """
    return Statement(sql, {"session": session_id, "message": message_id, "summary": summary})


def branch(*, session_id: UUID, end: UUID) -> Statement:
    """Id, role, text and completeness of the messages of the branch that ends with ``end``, oldest first."""
    return Statement(_BRANCH, {"session": session_id, "end": end})


def session_entrusted(*, session_id: UUID, agent_id: UUID) -> Statement:
    """Gives a session in which nothing was said yet to another agent."""
    sql = """
        UPDATE agent_sessions_session SET agent_id = %(agent)s
        WHERE id = %(session)s AND active_message_id IS NULL
    """
    return Statement(sql, {"session": session_id, "agent": agent_id})


def message_in(*, session_id: UUID, message_id: UUID, role: str) -> Statement:
    """Id and parent of a message of that session and role."""
    sql = """
        SELECT id, parent_id FROM agent_sessions_message
        WHERE id = %(message)s AND session_id = %(session)s AND role = %(role)s
    """
    return Statement(sql, {"message": message_id, "session": session_id, "role": role})


def session_changed(session: Session) -> Statement:
    """Keeps the session's title and active branch."""
    sql = """
        UPDATE agent_sessions_session SET title = %(title)s, active_message_id = %(active)s
        WHERE id = %(session)s
    """
    return Statement(
        sql, {"session": session.id, "title": session.title, "active": session.active_message_id}
    )


def answered(
    *,
    tenant_id: UUID,
    session_id: UUID,
    asked: UUID,
    answer: UUID,
    text: str,
    complete: bool,
    waiting: Statement,
) -> list[Statement]:
    """Keeps the answer to the message ``asked``. The session is held.

    ``waiting`` selects messages from the user that came meanwhile; those that follow ``asked`` follow the
    answer from now on. Whoever looks at another branch by now stays there.
    """
    message = fresh(
        Message,
        id=answer,
        tenant_id=tenant_id,
        session_id=session_id,
        parent_id=asked,
        role=MessageRole.ASSISTANT,
        text=text,
        complete=complete,
    )
    places = {"session": session_id, "asked": asked, "answer": answer}
    head = """
        UPDATE agent_sessions_session SET active_message_id = %(answer)s
        WHERE id = %(session)s AND active_message_id = %(asked)s
    """
    follow = f"""
        UPDATE agent_sessions_message SET parent_id = %(answer)s
        WHERE parent_id = %(asked)s AND id IN ({waiting.sql})
    """  # noqa: S608 a statement of ours
    return [inserted(message), Statement(head, places), Statement(follow, {**places, **waiting.parameters})]
