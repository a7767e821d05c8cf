"""Walks through a session's tree of messages, each one statement.

A walk costs an index look-up or two for each message that it gives, however many the session has.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from somaagent.tenancy.scripts import Statement

_UP = """
WITH RECURSIVE branch AS (
    SELECT id, parent_id, 1 AS place
    FROM agent_sessions_message WHERE id = {start} AND session_id = %(session)s
    UNION ALL
    SELECT before.id, before.parent_id, branch.place + 1
    FROM branch JOIN agent_sessions_message before ON before.id = branch.parent_id
    WHERE branch.place < %(most)s
)
SELECT message.id, message.role, message.text, message.complete, message.created_at, message.parent_id,
    CASE WHEN message.parent_id IS NULL THEN ARRAY(
        SELECT id FROM agent_sessions_message WHERE session_id = %(session)s AND parent_id IS NULL ORDER BY id
    ) ELSE ARRAY(
        SELECT id FROM agent_sessions_message WHERE parent_id = message.parent_id ORDER BY id
    ) END
FROM branch JOIN agent_sessions_message message ON message.id = branch.id
ORDER BY branch.place
"""
_ACTIVE = "(SELECT active_message_id FROM agent_sessions_session WHERE id = %(session)s)"

_DOWN = """
WITH RECURSIVE branch AS (
    SELECT id, 1 AS place FROM agent_sessions_message WHERE id = %(start)s AND session_id = %(session)s
    UNION ALL
    SELECT newest.id, branch.place + 1
    FROM branch CROSS JOIN LATERAL (
        SELECT id FROM agent_sessions_message WHERE parent_id = branch.id ORDER BY id DESC LIMIT 1
    ) newest
)
SELECT id FROM branch ORDER BY place DESC LIMIT 1
"""


class MessageRow(NamedTuple):
    """A message. ``alternatives``: all that follow its parent, this one too, oldest first."""

    id: UUID
    role: str
    text: str
    complete: bool
    created_at: datetime
    parent_id: UUID | None
    alternatives: list[UUID]


def walk_up(*, session_id: UUID, start: UUID | None, most: int) -> Statement:
    """``start`` and what was said before it, newest first: at most ``most`` rows of ``MessageRow``.

    None: from the end of the active branch.
    """
    sql = _UP.format(start=_ACTIVE if start is None else "%(start)s")
    return Statement(sql, {"session": session_id, "start": start, "most": most})


def end_of_branch(*, session_id: UUID, start: UUID) -> Statement:
    """The last message of the branch that goes through ``start`` and, wherever it forks, to the newest.

    No row where the session has no such message.
    """
    return Statement(_DOWN, {"session": session_id, "start": start})
