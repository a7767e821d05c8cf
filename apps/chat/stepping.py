"""Writes of a turn's host while a step's tools run (scripts). Each may run twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from apps.sessions import statements as sessions
from apps.tools.records import call_record, call_statements
from apps.tools.tool import Caller
from somaagent.agent.messages import ToolCall, Usage
from somaagent.agent.ports import Outcome, ToolResult
from somaagent.agent.step_events import StepAnswered, ToolFinished
from somaagent.tenancy.budgets import statements as budgets
from somaagent.tenancy.ledger.statements import recorded
from somaagent.tenancy.outbox.statements import Event, told
from somaagent.tenancy.scripts import Last, Missed, Script, Statement, needed, together

from . import calls, statements
from .models import Call, TurnState
from .spending import Spent, record_of
from .work import Work


def while_held(work: Work, *writes: Statement, spent: Sequence[Spent] = ()) -> Script[bool]:
    """Write, and charge what was spent, while the turn is this host's. False, and nothing is written, when it
    is no longer.
    """
    held = needed(statements.hold(turn_id=work.turn_id, owner=work.owner, attempt=work.attempt))
    try:
        yield Last([held, *with_charges(work, spent, *writes)])
    except Missed:
        return False
    return True


def with_charges(
    work: Work, spent: Sequence[Spent], *writes: Statement, events: Sequence[Event] = ()
) -> list[Statement]:
    """The writes, with the rows of the last of them, the events, and what steps used: once, as a step that
    another host ends was charged when it began. Where budgets apply, they count it in the same moment.
    """
    payer = work.payer()
    rows = [record_of(payer, one, work.conversation.profiles) for one in spent]
    charged: list[Statement] = []
    if work.budgeted:
        charged = budgets.settled(rows, payer)
    else:
        # One row of a table after the other costs less than two statements.
        charges = [recorded(row) for row in rows]
        events = [*(event for event, _ in charges), *events]
        writes = (*(record for _, record in charges), *writes)
    return [*charged, together(*([told(*events)] if events else []), *writes)]


def step_begin(*, work: Work, answered: StepAnswered, used: Usage) -> Script[bool]:
    """Keep what the model asked for, its cost, and what becomes of each call, before any of them runs.

    ``used``: by the turn up to now, this answer included; whoever ends it finds it in its row.
    """
    return (
        yield from while_held(
            work,
            statements.begin(turn_id=work.turn_id, answered=answered, used=used),
            *(
                calls.judged(
                    tenant_id=work.tenant_id, turn_id=work.turn_id, step=answered.step, verdict=verdict
                )
                for verdict in answered.verdicts
            ),
            spent=[Spent(answered.step, answered.usage, answered.profile)],
        )
    )


def call_finish(*, work: Work, finished: ToolFinished) -> Script[bool]:
    """Keep a call's result: it is not run again."""
    return (yield from while_held(work, calls.finished(work.turn_id, finished)))


def turn_pause(*, work: Work, last_event: int) -> Script[TurnState | None]:
    """Leave a turn to those who approve: nobody hosts it until they have. ``last_event``: the number of its
    last one, all being told.

    Gives its state: ``awaiting_approval``, or ``queued`` where the answers are there already. ``cancelled``,
    where somebody asked it to stop: nothing is changed then. None when another host has the turn.
    """
    held, waiting = yield [
        statements.hold(turn_id=work.turn_id, owner=work.owner, attempt=work.attempt),
        calls.unanswered(work.turn_id),
    ]
    if not held:
        return None
    ((number, expires_at),) = waiting
    state = TurnState.AWAITING_APPROVAL if number else TurnState.QUEUED
    (rows,) = yield [
        statements.pause(turn_id=work.turn_id, state=state, expires_at=expires_at, last_event=last_event)
    ]
    return state if rows else TurnState.CANCELLED


def first_expiry(*, turn_id: UUID) -> Script[datetime | None]:
    """When the first of a turn's questions waits no longer."""
    (((_, expires_at),),) = yield [calls.unanswered(turn_id)]
    found: datetime | None = expires_at
    return found


def calls_end(turn_ids: Sequence[UUID]) -> Script[None]:
    """End and record the calls that turns leave behind: they ran, or were never run."""
    (rows,) = yield [calls.unfinished(turn_ids)]
    if not rows:
        return
    (turns,) = yield [statements.owners(turn_ids)]
    (agents,) = yield [sessions.agent_slugs([session_id for _, _, session_id in turns])]
    slugs: dict[UUID, str] = dict(agents)
    left = calls.rows_of(rows)
    tenant_id = left[0].tenant_id
    callers = {
        turn_id: Caller(tenant_id, user_id, "", slugs[session_id], session_id, turn_id)
        for turn_id, user_id, session_id in turns
    }
    yield [together(*(write for call in left for write in _record(call, callers[call.turn_id])))]


def _record(call: Call, caller: Caller) -> list[Statement]:
    ran = call.outcome == Outcome.CUT_SHORT
    reason = "Its turn ended while it ran." if ran else "Its turn ended before it ran."
    row = call_record(
        caller=caller,
        call=ToolCall(call.call_id, call.tool, call.edited_arguments or call.arguments),
        source=call.source,
        decision=call.decision,
        result=ToolResult(reason, Outcome(call.outcome)),
    )
    row.answer, row.answered_by = call.answer, call.answered_by
    row.edited = call.edited_arguments is not None
    return call_statements(row)
