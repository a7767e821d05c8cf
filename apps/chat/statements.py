"""A turn's way through its table, as statements (``somaagent.tenancy.scripts``)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.utils import timezone

from somaagent.agent.messages import NOTHING_USED, Usage
from somaagent.agent.step_events import StepAnswered
from somaagent.tenancy.scripts import Statement, columns, inserted

from .models import OPEN_STATES, Step, Turn

# Written out: a plan for whatever states could not use the index of these.
_IS_OPEN = "state IN ({})".format(", ".join(f"'{state}'" for state in OPEN_STATES))

# Nothing that a queued turn has to wait for: its session's running turn, or an older one that waits.
_TIME_HAS_COME = f"""NOT EXISTS (
    SELECT 1 FROM chat_turn before
    WHERE before.session_id = turn.session_id AND before.{_IS_OPEN}
    AND (before.state <> 'queued' OR before.id < turn.id)
)"""  # noqa: S608 states of ours

_TAKE = f"""
UPDATE chat_turn turn
SET state = 'running', lease_owner = %(owner)s, lease_expires_at = %(until)s, started_at = %(now)s,
    attempt = attempt + 1
WHERE id = %(turn)s AND state = 'queued' AND {_TIME_HAS_COME}
RETURNING session_id, input_message_id, attempt, created_at, request::text, user_id, begun::text, api_key_id,
    last_event
"""  # noqa: S608 conditions of ours

_LEFT = f"""
SELECT id FROM chat_turn turn
WHERE state = 'queued' AND queued_at < %(since)s AND {_TIME_HAS_COME}
"""  # noqa: S608 as above

_USED = ", ".join(f"{name} = %({name})s" for name in ("cost", *NOTHING_USED.tokens()))

_END = """
UPDATE chat_turn SET {facts}
WHERE id = %(turn)s AND state = 'running' AND lease_owner = %(owner)s AND attempt = %(attempt)s
RETURNING input_message_id
"""


def made_by_key(*, user_id: UUID, key: str) -> Statement:
    """The user's turn that was submitted with an idempotency key."""
    return _turns("turn.user_id = %(user)s AND turn.idempotency_key = %(key)s", {"user": user_id, "key": key})


def turn_of_user(*, user_id: UUID, turn_id: UUID) -> Statement:
    return _turns("turn.user_id = %(user)s AND turn.id = %(turn)s", {"user": user_id, "turn": turn_id})


def _turns(where: str, parameters: dict[str, Any]) -> Statement:
    return Statement(f"SELECT {columns(Turn, 'turn')} FROM chat_turn turn WHERE {where}", parameters)  # noqa: S608 ours


def more_of(messages: Sequence[UUID]) -> list[Statement]:
    """What the turns of these messages keep besides text, where a request made them.

    First each input message with its items, then each answer with its steps, oldest first; as JSON text.
    """
    inputs = """
        SELECT DISTINCT ON (input_message_id) input_message_id, (request->'items')::text FROM chat_turn
        WHERE input_message_id = ANY(%(messages)s) AND request IS NOT NULL ORDER BY input_message_id, id DESC
    """
    steps = """
        SELECT turn.output_message_id, step.data::text
        FROM chat_turn turn JOIN chat_step step ON step.turn_id = turn.id
        WHERE turn.output_message_id = ANY(%(messages)s) AND turn.request IS NOT NULL
        ORDER BY step.turn_id, step.number
    """
    facts = {"messages": list(messages)}
    return [Statement(inputs, facts), Statement(steps, facts)]


def open_turns(session_id: UUID) -> Statement:
    """Id and state of the session's running turn and of those that wait, oldest first."""
    sql = f"SELECT id, state FROM chat_turn WHERE session_id = %(session)s AND {_IS_OPEN} ORDER BY id"  # noqa: S608 as above
    return Statement(sql, {"session": session_id})


def stop_all(session_id: UUID) -> list[Statement]:
    """Stops the open turns of a session."""
    return _stop("turn.session_id = %(session)s", {"session": session_id})


def stop(*, user_id: UUID, turn_id: UUID) -> list[Statement]:
    """Stops a turn of the user, if it is open."""
    return _stop("turn.user_id = %(user)s AND turn.id = %(turn)s", {"user": user_id, "turn": turn_id})


def _stop(where: str, parameters: dict[str, Any]) -> list[Statement]:
    """Locks the turns, cancels what nobody hosts and asks what runs to stop; gives of the first the ids, of
    both others the turns (``Turn``'s columns).

    Without the locks one that is paused in the same moment would be neither when it is looked at.
    """
    facts = {**parameters, "now": timezone.now()}
    locked = f"SELECT id FROM chat_turn turn WHERE {where} AND {_IS_OPEN} ORDER BY id DESC FOR NO KEY UPDATE"  # noqa: S608 as below
    waiting = f"""
        UPDATE chat_turn turn SET state = 'cancelled', cancel_requested_at = %(now)s, finished_at = %(now)s,
            begun = NULL, approvals_expire_at = NULL,
            last_event = CASE WHEN turn.state = 'awaiting_approval' THEN turn.last_event + 1 ELSE 0 END
        WHERE {where} AND turn.state IN ('queued', 'awaiting_approval') RETURNING {columns(Turn, "turn")}
    """  # noqa: S608 columns and conditions of ours
    running = f"""
        UPDATE chat_turn turn SET cancel_requested_at = COALESCE(cancel_requested_at, %(now)s)
        WHERE {where} AND turn.state = 'running' RETURNING {columns(Turn, "turn")}
    """  # noqa: S608 columns and conditions of ours
    return [Statement(locked, facts), Statement(waiting, facts), Statement(running, facts)]


def take(*, turn_id: UUID, owner: str, until: datetime) -> Statement:
    """Claims a queued turn whose time has come: session, input message, attempt, time of submission, request,
    user, the step that is begun, the API key, and the number of the last event before a pause.

    Where another turn of the session is taken in the same moment, the index of running turns refuses one.
    """
    return Statement(_TAKE, {"turn": turn_id, "owner": owner, "until": until, "now": timezone.now()})


def left(since: datetime, turn_id: UUID | None = None) -> Statement:
    """Turns whose time has come, and that wait for a host since then; of all, or that one if it is one."""
    one = "" if turn_id is None else " AND id = %(turn)s"
    return Statement(_LEFT + one, {"since": since, "turn": turn_id})


def steps(turn_id: UUID) -> Statement:
    """The data of the steps that are done, as JSON text, oldest first."""
    return Statement(
        "SELECT data::text FROM chat_step WHERE turn_id = %(turn)s ORDER BY number", {"turn": turn_id}
    )


def last_ratio(session_id: UUID) -> Statement:
    """``StepCompleted.ratio`` of the session's last answer."""
    sql = """
        SELECT (step.data ->> 'ratio')::float FROM chat_step step
        WHERE step.turn_id = (
            SELECT id FROM chat_turn WHERE session_id = %(session)s AND state = 'completed'
            ORDER BY id DESC LIMIT 1
        )
        ORDER BY step.number DESC LIMIT 1
    """
    return Statement(sql, {"session": session_id})


def renew(*, turn_ids: Sequence[UUID], owner: str, until: datetime) -> Statement:
    """Moves leases on: each turn, its attempt, and whether somebody asked it to stop. Those without a row are
    another host's. They are locked in the order in which a sweep goes through them.
    """
    sql = """
        UPDATE chat_turn turn SET lease_expires_at = %(until)s
        FROM (
            SELECT id FROM chat_turn
            WHERE id = ANY(%(turns)s) AND state = 'running' AND lease_owner = %(owner)s
            ORDER BY id DESC FOR NO KEY UPDATE
        ) held
        WHERE turn.id = held.id
        RETURNING turn.id, turn.attempt, turn.cancel_requested_at IS NOT NULL
    """
    return Statement(sql, {"turns": list(turn_ids), "owner": owner, "until": until})


def hold(*, turn_id: UUID, owner: str, attempt: int) -> Statement:
    """One row while the turn is this host's: until the transaction's end nobody takes it."""
    sql = """
        SELECT id FROM chat_turn
        WHERE id = %(turn)s AND state = 'running' AND lease_owner = %(owner)s AND attempt = %(attempt)s
        FOR UPDATE
    """
    return Statement(sql, {"turn": turn_id, "owner": owner, "attempt": attempt})


def keep(step: Step) -> Statement:
    """Keeps a step, once. Its turn is held."""
    return inserted(step, once="turn_id, number")


def begin(*, turn_id: UUID, answered: StepAnswered, used: Usage) -> Statement:
    """Keeps what a model asked for before it is done, and what the turn used up to now, this included."""
    sql = f"UPDATE chat_turn SET begun = %(begun)s::jsonb, {_USED} WHERE id = %(turn)s"  # noqa: S608 names of ours
    begun = orjson.dumps(answered.data()).decode()
    return Statement(sql, {"turn": turn_id, "begun": begun, "cost": used.cost, **used.tokens()})


def nothing_begun(turn_id: UUID) -> Statement:
    """The step that was begun is done."""
    return Statement("UPDATE chat_turn SET begun = NULL WHERE id = %(turn)s", {"turn": turn_id})


def pause(*, turn_id: UUID, state: str, expires_at: datetime | None, last_event: int) -> Statement:
    """Takes a turn out of its host's hands, all of whose events are told; no row: it was asked to stop."""
    sql = """
        UPDATE chat_turn SET state = %(state)s, queued_at = %(now)s, lease_owner = '',
            lease_expires_at = NULL, approvals_expire_at = %(expires)s, last_event = %(last)s
        WHERE id = %(turn)s AND cancel_requested_at IS NULL RETURNING id
    """
    facts = {
        "turn": turn_id,
        "state": state,
        "expires": expires_at,
        "last": last_event,
        "now": timezone.now(),
    }
    return Statement(sql, facts)


def goes_on(turn_id: UUID) -> Statement:
    """Queues a turn whose questions are answered; no row: a host has it, or it is over."""
    sql = """
        UPDATE chat_turn SET state = 'queued', queued_at = %(now)s, approvals_expire_at = NULL
        WHERE id = %(turn)s AND state = 'awaiting_approval' RETURNING id
    """
    return Statement(sql, {"turn": turn_id, "now": timezone.now()})


def turn_of_tenant(turn_id: UUID) -> Statement:
    return _turns("turn.id = %(turn)s", {"turn": turn_id})


def locked(turn_id: UUID) -> Statement:
    """A turn of the tenant: until the transaction's end nobody else's to change."""
    return _turns("turn.id = %(turn)s FOR UPDATE", {"turn": turn_id})


def owners(turn_ids: Sequence[UUID]) -> Statement:
    """Whose turns these are: turn, user, session."""
    sql = "SELECT id, user_id, session_id FROM chat_turn WHERE id = ANY(%(turns)s)"
    return Statement(sql, {"turns": list(turn_ids)})


def end(*, turn_id: UUID, owner: str, attempt: int, facts: dict[str, Any]) -> Statement:
    """Ends a running turn of this host: its input message, or no row."""
    assignments = ", ".join(f"{name} = %({name})s" for name in facts)
    whose = {"turn": turn_id, "owner": owner, "attempt": attempt}
    return Statement(_END.format(facts=assignments), {**facts, **whose})


def not_taken(session_id: UUID) -> Statement:
    """Turns of the session that no host ever took, oldest first: id, state."""
    sql = "SELECT id, state FROM chat_turn WHERE session_id = %(session)s AND started_at IS NULL ORDER BY id"
    return Statement(sql, {"session": session_id})


def questions_not_taken(session_id: UUID) -> Statement:
    """The messages that those turns answer."""
    sql = "SELECT input_message_id FROM chat_turn WHERE session_id = %(session)s AND started_at IS NULL"
    return Statement(sql, {"session": session_id})


def over(turn_ids: Sequence[UUID]) -> Statement:
    """Those of the turns that have ended, oldest first."""
    return _turns(
        "turn.id = ANY(%(turns)s) AND turn.state IN ('completed', 'failed', 'cancelled') ORDER BY turn.id",
        {"turns": list(turn_ids)},
    )


def ended(turn_id: UUID) -> Statement:
    """Whose a turn was: owner, attempt, stored answer."""
    sql = "SELECT lease_owner, attempt, output_message_id FROM chat_turn WHERE id = %(turn)s"
    return Statement(sql, {"turn": turn_id})
