"""Reading what was said before a turn's input: the branch that it ends, since its last summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from apps.sessions import statements as sessions
from somaagent.tenancy.scripts import Row, Script

from . import told
from .requests import Request
from .work import Conversation

if TYPE_CHECKING:
    from apps.sessions.models import Agent, ModelProfile


def conversation(
    *,
    session_id: UUID,
    agent: Agent,
    profiles: list[ModelProfile],
    newest: Sequence[Row],
    question: UUID,
    ratio: Sequence[Row] = (),
    asked: Sequence[tuple[str, str]] = (),
    request: Request | None = None,
) -> Script[Conversation]:
    """What the host of a turn is told, read on from the ``newest`` rows of ``sessions.history``.

    ``question`` is the message to answer; ``ratio`` the rows of ``statements.last_ratio``; ``asked`` is the
    question, where ``newest`` ends before it. With a ``request`` function calls and their outputs are told.
    """
    rows = list(newest)
    while rows and (before := _goes_on(rows[-1], question)) is not None:
        (older,) = yield [sessions.history(session_id=session_id, end=before, question=question)]
        if not older:
            break
        rows += older
    said = [(message_id, role, text) for message_id, _, role, text, _ in reversed(rows)]
    summary, summarised = "", None
    if rows and rows[-1][4] and rows[-1][0] != question:
        summarised, summary = rows[-1][0], rows[-1][4]
        said = said[1:]
    said += [(question, role, text) for role, text in asked]
    whole = (yield from told.with_more(said, question, request)) if request else None
    said = [row for row in said if row[2]]
    return Conversation(
        instructions=agent.instructions,
        profiles=profiles,
        messages=[(role, text) for _, role, text in said],
        ids=[message_id for message_id, _, _ in said] if whole is None else whole.ids,
        summary=summary,
        summarised=summarised,
        ratio=(ratio[0][0] or 1.0) if ratio else 1.0,
        told=None if whole is None else whole.messages,
    )


def _goes_on(oldest: Row, question: UUID) -> UUID | None:
    """What was said before the oldest row, unless its summary stands for that."""
    message_id, parent_id, _, _, summary = oldest
    stands: UUID | None = parent_id if not summary or message_id == question else None
    return stands
