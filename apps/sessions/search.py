"""What a user said and was told before, found by words: a script (see ``somaagent.tenancy.scripts``).

No index knows the words. Under row-level security one of words could not be used either: PostgreSQL puts a
tenant's policy before every operator that is not leakproof, and those of full-text and trigram search are
not. So the work is bounded instead: the newest sessions by their indexes, of those the newest messages by
theirs, of each message its beginning; and a statement that takes longer all the same is stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from somaagent.tenancy.scripts import Script, Statement

MOST_SESSIONS = 1000
MOST_MESSAGES = 10_000
MOST_OF_A_SESSION = 2000
MOST_CHARACTERS = 20_000
MOST_SECONDS = 5

_SEARCH = """
WITH mine AS (
    (SELECT id, title FROM agent_sessions_session
     WHERE user_id = %(user)s AND archived_at IS NULL ORDER BY id DESC LIMIT %(sessions)s)
    UNION ALL
    (SELECT id, title FROM agent_sessions_session
     WHERE user_id = %(user)s AND archived_at IS NOT NULL ORDER BY id DESC LIMIT %(sessions)s)
), newest AS (
    SELECT id, title FROM mine WHERE id IS DISTINCT FROM %(without)s ORDER BY id DESC LIMIT %(sessions)s
), said AS (
    SELECT newest.title, message.* FROM newest CROSS JOIN LATERAL (
        SELECT id, session_id, role, created_at, left(text, %(characters)s) AS text,
               lower(left(text, %(characters)s)) AS lowered
        FROM agent_sessions_message
        WHERE session_id = newest.id ORDER BY id DESC LIMIT %(of_a_session)s
    ) message
    LIMIT %(messages)s
), counted AS (
    SELECT said.*, (
        SELECT count(*) FROM unnest(%(words)s::text[]) word WHERE strpos(said.lowered, word) > 0
    ) AS words
    FROM said
)
SELECT session_id, title, id, role, created_at, text, words
FROM counted WHERE words > 0 ORDER BY words DESC, id DESC LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A message with some of the words in it: its beginning, and how many of them."""

    session_id: UUID
    title: str
    message_id: UUID
    role: str
    said_at: datetime
    text: str
    words: int


def messages_found(
    *, user_id: UUID, words: Sequence[str], without: UUID | None, most: int
) -> Script[list[Found]]:
    """The user's messages, and answers to them, with the most of ``words`` in them; of those the newest.

    The words are in lower case. ``without`` is a session to leave out. Looked at are the newest
    ``MOST_MESSAGES`` of the user's newest ``MOST_SESSIONS`` sessions, of one session
    ``MOST_OF_A_SESSION``, of a message ``MOST_CHARACTERS``.
    Raises ``OperationalError`` where that takes more than ``MOST_SECONDS``.
    """
    bound = Statement(f"SET LOCAL statement_timeout = '{MOST_SECONDS}s'", {})
    _, rows = yield [bound, search(user_id=user_id, words=words, without=without, most=most)]
    return [Found(*row) for row in rows]


def search(*, user_id: UUID, words: Sequence[str], without: UUID | None, most: int) -> Statement:
    """The one statement of it."""
    return Statement(
        _SEARCH,
        {
            "user": user_id,
            "without": without,
            "words": list(words),
            "most": most,
            "sessions": MOST_SESSIONS,
            "messages": MOST_MESSAGES,
            "of_a_session": MOST_OF_A_SESSION,
            "characters": MOST_CHARACTERS,
        },
    )
