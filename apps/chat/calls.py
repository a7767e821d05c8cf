"""The calls of tools of a turn's unfinished step, as statements and as what a host takes up again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.utils import timezone

from apps.tools.answers import Answered, Past
from apps.tools.models import Answer
from somaagent.agent.loop import Begun
from somaagent.agent.ports import Action, Outcome, Verdict
from somaagent.agent.step_events import ApprovalAnswered, StepAnswered, ToolFinished
from somaagent.tenancy.scripts import Statement, columns, inserted, read
from somaagent.texts import storable

from .models import Call, CallState

_STATES = {
    Action.RUN: CallState.RUNNING,
    Action.ASK: CallState.AWAITING,
    Action.REFUSE: CallState.DONE,
}
# A question that stands keeps its answer and its time. One about a call that was cut short is a new one.
_JUDGED = """
ON CONFLICT (turn_id, call_id) DO UPDATE SET
    state = EXCLUDED.state, arguments = CASE WHEN chat_call.edited_arguments IS NULL THEN EXCLUDED.arguments
        ELSE chat_call.arguments END, outcome = EXCLUDED.outcome,
    result = EXCLUDED.result, risk = EXCLUDED.risk, reason = EXCLUDED.reason,
    source = EXCLUDED.source, decision = EXCLUDED.decision,
    asked_at = COALESCE(EXCLUDED.asked_at, chat_call.asked_at),
    expires_at = COALESCE(EXCLUDED.expires_at, chat_call.expires_at),
    answer = CASE WHEN EXCLUDED.state = 'awaiting' THEN '' ELSE chat_call.answer END,
    cut_short = chat_call.cut_short OR (EXCLUDED.state = 'awaiting' AND chat_call.state = 'running')
WHERE EXCLUDED.state <> 'awaiting' OR chat_call.state <> 'awaiting'
"""


@dataclass(frozen=True, slots=True)
class TakenUp:
    """A step that another host began: for the engine, for the toolset, and for those who follow the turn."""

    begun: Begun
    past: Past
    answers: Sequence[ApprovalAnswered] = ()


def judged(*, tenant_id: UUID, turn_id: UUID, step: int, verdict: Verdict) -> Statement:
    """Keeps what becomes of a call. A refused one is done with that."""
    now = timezone.now()
    asks, refuses = verdict.action is Action.ASK, verdict.action is Action.REFUSE
    row = Call(
        tenant_id=tenant_id,
        turn_id=turn_id,
        step=step,
        call_id=verdict.call.id,
        tool=storable(verdict.call.name)[:200],
        arguments=storable(verdict.call.arguments),
        state=_STATES[verdict.action],
        source=verdict.source,
        decision=verdict.decision,
        risk=verdict.risk,
        reason=storable(verdict.reason),
        asked_at=now if asks else None,
        expires_at=now + timedelta(seconds=settings.APPROVAL_SECONDS) if asks else None,
        outcome=verdict.outcome.value if refuses else "",
        result=storable(verdict.reason) if refuses else "",
    )
    insert = inserted(row)
    return Statement(insert.sql + _JUDGED, insert.parameters)


def finished(turn_id: UUID, event: ToolFinished) -> Statement:
    sql = """
        UPDATE chat_call SET state = 'done', outcome = %(outcome)s, result = %(result)s
        WHERE turn_id = %(turn)s AND call_id = %(call)s
    """
    facts = {"turn": turn_id, "call": event.call_id, "outcome": event.outcome.value}
    return Statement(sql, facts | {"result": storable(event.text)})


def of_step(turn_id: UUID, step: int) -> Statement:
    sql = f"""
        SELECT {columns(Call, "call")} FROM chat_call call
        WHERE turn_id = %(turn)s AND step = %(step)s ORDER BY id
    """  # noqa: S608 columns of ours
    return Statement(sql, {"turn": turn_id, "step": step})


def unfinished(turn_ids: Sequence[UUID]) -> Statement:
    """The calls (``Call``'s columns) of turns that end, as they were, all ended now."""
    sql = f"""
        UPDATE chat_call call SET state = 'done',
            outcome = CASE WHEN call.state = 'running' THEN 'cut_short' ELSE 'cancelled' END
        WHERE turn_id = ANY(%(turns)s) AND state <> 'done' RETURNING {columns(Call, "call")}
    """  # noqa: S608 columns of ours
    return Statement(sql, {"turns": list(turn_ids)})


def unanswered(turn_id: UUID) -> Statement:
    """How many calls of a turn wait for an answer, and when the first of them waits no longer."""
    sql = """
        SELECT count(*), min(expires_at) FROM chat_call
        WHERE turn_id = %(turn)s AND state = 'awaiting' AND answer = ''
    """
    return Statement(sql, {"turn": turn_id})


def awaiting(turn_id: UUID) -> Statement:
    """The calls of a turn that wait, or waited, for approval."""
    sql = f"""
        SELECT {columns(Call, "call")} FROM chat_call call
        WHERE turn_id = %(turn)s AND asked_at IS NOT NULL ORDER BY id
    """  # noqa: S608 columns of ours
    return Statement(sql, {"turn": turn_id})


def answer(call: Call) -> Statement:
    """Keeps the answer that a call has been given, if it has none yet; no row: it has one."""
    names = ("answer", "answered_by", "answered_role", "answered_at", "answer_reason", "edited_arguments")
    facts = {name: getattr(call, name) for name in names}
    assignments = ", ".join(f"{name} = COALESCE(%({name})s, {name})" for name in names)
    sql = f"""
        UPDATE chat_call SET {assignments}
        WHERE id = %(id)s AND state = 'awaiting' AND answer = '' RETURNING id
    """  # noqa: S608 names of ours
    return Statement(sql, facts | {"id": call.id})


def expire(now: datetime) -> Statement:
    """Answers all questions whose time is over; gives their turns."""
    sql = """
        UPDATE chat_call SET answer = 'expired', answered_at = %(now)s
        WHERE state = 'awaiting' AND answer = '' AND expires_at <= %(now)s RETURNING turn_id
    """
    return Statement(sql, {"now": now})


def rows_of(rows: Sequence[Sequence[Any]]) -> list[Call]:
    return [read(Call, row) for row in rows]


def taken_up(begun: str, calls: Sequence[Call]) -> TakenUp:
    """The step that a turn's row keeps as begun, as JSON text, with its calls."""
    answered = StepAnswered.from_data(orjson.loads(begun))
    done = tuple(_finished(call) for call in calls if call.state == CallState.DONE)
    past = Past(
        answers={call.call_id: _answered(call) for call in calls if call.answer},
        cut_short=frozenset(call.call_id for call in calls if call.state == CallState.RUNNING)
        | frozenset(call.call_id for call in calls if call.cut_short and not call.answer),
    )
    told = [
        ApprovalAnswered(
            call.step,
            call.call_id,
            call.answer,
            call.answer_reason,
            edited=call.edited_arguments is not None,
        )
        for call in calls
        if call.answer
    ]
    return TakenUp(Begun(answered, done), past, told)


def _answered(call: Call) -> Answered:
    return Answered(
        Answer(call.answer),
        by=call.answered_by,
        role=call.answered_role,
        reason=call.answer_reason,
        arguments=call.edited_arguments,
        cut_short=call.cut_short,
    )


def _finished(call: Call) -> ToolFinished:
    return ToolFinished(call.step, call.call_id, call.tool, call.result, Outcome(call.outcome))
