"""Walks through a session's tree of messages, each one statement. All run inside the tenant's scope.

A walk costs an index look-up for each message that it gives, however many the session has.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from .models import Message

_UP = """
WITH RECURSIVE branch AS (
    SELECT id, parent_id, 1 AS place
    FROM agent_sessions_message WHERE id = %(start)s AND session_id = %(session)s
    UNION ALL
    SELECT before.id, before.parent_id, branch.place + 1
    FROM branch JOIN agent_sessions_message before ON before.id = branch.parent_id
    WHERE branch.place < %(most)s
)
SELECT message.* FROM branch JOIN agent_sessions_message message ON message.id = branch.id
ORDER BY branch.place
"""

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


def walk_up(*, session_id: UUID, start: UUID | None, most: int) -> list[Message]:
    """``start`` and what was said before it, newest first: at most ``most`` messages."""
    if start is None:
        return []
    return list(Message.objects.raw(_UP, {"session": session_id, "start": start, "most": most}))


def end_of_branch(*, session_id: UUID, start: UUID) -> UUID | None:
    """The last message of the branch that goes through ``start`` and, wherever it forks, to the newest.

    None where the session has no such message.
    """
    with connection.cursor() as cursor:
        cursor.execute(_DOWN, {"session": session_id, "start": start})
        row = cursor.fetchone()
    return row[0] if row else None


def alternatives(*, session_id: UUID, messages: Sequence[Message]) -> dict[UUID | None, list[UUID]]:
    """For each message's parent (None: where the session begins) all that follow it, oldest first."""
    parents = {message.parent_id for message in messages}
    in_session = Message.objects.filter(session_id=session_id)
    following = in_session.filter(parent_id__in=parents - {None})
    if None in parents:
        following = following | in_session.filter(parent__isnull=True)
    found: dict[UUID | None, list[UUID]] = {parent: [] for parent in parents}
    for message_id, parent_id in following.order_by("id").values_list("id", "parent_id"):
        found[parent_id].append(message_id)
    return found
