"""Writes of a turn's host: take, keep, finish (scripts, see ``somaagent.tenancy.scripts``), give back.

And what becomes of a dead host's turns. Each may run twice: a host that lost its connection in a commit does
it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import orjson
from django.conf import settings
from django.utils import timezone

from apps.sessions import statements as sessions
from somaagent.agent.messages import Usage
from somaagent.agent.step_events import StepCompleted
from somaagent.tenancy.budgets import statements as budgets
from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.scripts import Last, Missed, Row, Script, fresh, needed, performed, together
from somaagent.tenancy.statements import membership, role_of
from somaagent.texts import storable

from . import calls, history, statements
from .calls import TakenUp
from .ended import Ended, turn_ended
from .models import HOSTED_STATES, Step, Turn, TurnState
from .requests import request_of
from .spending import Spent
from .stepping import calls_end, while_held, with_charges
from .webhooks import services as webhooks
from .work import UserOfTurn, Work, lease_end

if TYPE_CHECKING:
    from django.db.models import QuerySet

QUEUED_TOO_LONG = timedelta(seconds=15)
# A turn that takes every host with it must not go round for ever.
MOST_HOSTS_LOST = 5
# The form of ``Step.data``: raised with every change that older code could not read.
STEP_VERSION = 1


def turn_claim(*, tenant_id: UUID, turn_id: UUID, owner: str) -> Script[Work | None]:
    """Take a queued turn. None when another host was first, it has to wait, or it is gone.

    Raises ``IntegrityError`` where another turn of the session is taken in the same moment.
    """
    (taken,) = yield [statements.take(turn_id=turn_id, owner=owner, until=lease_end())]
    if not taken:
        return None
    session_id, input_id, attempt, submitted_at, kept, user_id, begun, key_id, last_event = taken[0]
    request = request_of(kept)
    agents, members, newest, done, ratio, budgeted = yield [
        sessions.session_agent(session_id),
        membership(user_id),
        sessions.history(session_id=session_id, end=input_id, question=input_id),
        statements.steps(turn_id),
        statements.last_ratio(session_id),
        budgets.some(),
    ]
    agent = sessions.agent_of(agents, None)
    applying = yield from budgets.applied(budgeted, user_id=user_id, key_id=key_id, agent_id=agent.id)
    kept_steps = [StepCompleted.from_data(orjson.loads(data)) for (data,) in done]
    conversation = yield from history.conversation(
        session_id=session_id,
        agent=agent,
        profiles=(yield from sessions.profiles(agent)),
        newest=newest,
        question=input_id,
        ratio=ratio,
        request=request,
    )
    return Work(
        turn_id=turn_id,
        tenant_id=tenant_id,
        session_id=session_id,
        owner=owner,
        attempt=attempt,
        submitted_at=submitted_at,
        question=input_id,
        conversation=conversation,
        user=UserOfTurn(user_id, role_of(members), key_id),
        agent_id=agent.id,
        agent=agent.slug,
        tools=agent.tools,
        done=kept_steps,
        taken_up=(yield from _taken_up(turn_id, begun)) if begun else None,
        request=request,
        budgeted=bool(applying),
        last_event=last_event,
    )


def _taken_up(turn_id: UUID, begun: str) -> Script[TakenUp]:
    (rows,) = yield [calls.of_step(turn_id, orjson.loads(begun)["step"])]
    return calls.taken_up(begun, calls.rows_of(rows))


def turns_renew(*, works: Sequence[Work]) -> Script[dict[UUID, TurnState]]:
    """Move the leases of a host's turns on, and where budgets apply what they have reserved.

    Of each that is still the host's: ``running``, or ``cancelled`` when somebody asked it to stop.
    """
    budgeted = [work.turn_id for work in works if work.budgeted]
    reserved = [budgets.renewed(budgeted, settings.TURN_LEASE_SECONDS)] if budgeted else []
    turn_ids = [work.turn_id for work in works]
    renewed = statements.renew(turn_ids=turn_ids, owner=works[0].owner, until=lease_end())
    (rows,) = yield Last([together(*reserved, renewed)])
    attempts = {work.turn_id: work.attempt for work in works}
    return {
        turn_id: TurnState.CANCELLED if stop else TurnState.RUNNING
        for turn_id, attempt, stop in rows
        if attempt == attempts[turn_id]
    }


def step_keep(*, work: Work, step: StepCompleted) -> Script[bool]:
    """Keep a finished step. False when another host has the turn: its steps are the ones that count."""
    spent = Spent(step.step, step.usage, step.profile)
    kept = [statements.keep(_step(work, step)), statements.nothing_begun(work.turn_id)]
    return (yield from while_held(work, *kept, spent=[spent]))


def summary_keep(*, work: Work, message_id: UUID, summary: str) -> Script[bool]:
    """Keep a summary of the session up to and with a message. False when another host has the turn."""
    summarised = sessions.summarised(session_id=work.session_id, message_id=message_id, summary=summary)
    return (yield from while_held(work, summarised))


def _step(work: Work, step: StepCompleted) -> Step:
    return fresh(
        Step,
        tenant_id=work.tenant_id,
        turn_id=work.turn_id,
        number=step.step,
        version=STEP_VERSION,
        data=step.data(),
        cost=step.usage.cost,
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended: its state, the text that there is, what it used, the error if it failed.

    ``step``: its last one, where that ended with the turn and is to be kept with it. ``cut_short``: what one
    used that came to no end.
    """

    state: TurnState
    text: str
    usage: Usage
    last_event: int
    error_code: str = ""
    error_message: str = ""
    error_retryable: bool = False
    step: StepCompleted | None = None
    cut_short: Spent | None = None

    def spent(self) -> list[Spent]:
        """What is to be charged with the turn's end."""
        last = [Spent(self.step.step, self.step.usage, self.step.profile)] if self.step else []
        return [*last, self.cut_short] if self.cut_short else last


@dataclass(frozen=True, slots=True)
class Finished:
    """What finishing came to: whether the turn is there at all, was this host's, its stored answer, the
    session's next turn, whose time has come now, and what is to be delivered to webhooks.
    """

    there: bool
    mine: bool
    message_id: UUID | None = None
    following: UUID | None = None
    deliveries: tuple[UUID, ...] = ()


def turn_finish(*, work: Work, outcome: Outcome) -> Script[Finished]:
    """End a turn, once. The owner's name stays with a finished turn: by it a repeated call knows its own."""
    # What its caller is asked to do stands beside an answer's text, or in its place.
    handed_back = outcome.step is not None and bool(outcome.step.message.tool_calls)
    answer = uuid7() if outcome.text or handed_back else None
    batch = [statements.keep(_step(work, outcome.step))] if outcome.step else []
    batch += [budgets.freed(work.turn_id)] if work.budgeted else []
    if answer is not None:
        batch += sessions.answered(
            tenant_id=work.tenant_id,
            session_id=work.session_id,
            asked=work.question,
            answer=answer,
            text=outcome.text,
            complete=outcome.state == TurnState.COMPLETED,
            waiting=statements.questions_not_taken(work.session_id),
        )
    finished_at = timezone.now()
    facts = _facts(outcome, answer, finished_at)
    # First the session, then its turns, as everybody who needs both.
    first = [
        sessions.session_held(work.session_id),
        needed(statements.end(turn_id=work.turn_id, owner=work.owner, attempt=work.attempt, facts=facts)),
        statements.not_taken(work.session_id),
    ]
    event, deliveries = turn_ended(_ended(work, outcome, finished_at))
    writes = with_charges(work, outcome.spent(), *batch, deliveries, events=[event])
    try:
        if work.tools and outcome.state != TurnState.COMPLETED:
            _, _, not_taken = yield first
            yield from calls_end([work.turn_id])
            *_, made = yield Last(writes)
        else:
            _, _, not_taken, *_, made = yield Last([*first, *writes])
    except Missed:
        return (yield from _finished_before(work))
    return Finished(
        there=True,
        mine=True,
        message_id=answer,
        following=_following(not_taken),
        deliveries=tuple(delivery_id for delivery_id, _ in made),
    )


def _finished_before(work: Work) -> Script[Finished]:
    rows, not_taken = yield [statements.ended(work.turn_id), statements.not_taken(work.session_id)]
    if not rows:
        return Finished(there=False, mine=False)
    owner, attempt, answer = rows[0]
    if (owner, attempt) != (work.owner, work.attempt):
        return Finished(there=True, mine=False, message_id=answer)
    return Finished(there=True, mine=True, message_id=answer, following=_following(not_taken))


def _following(not_taken: Sequence[Row]) -> UUID | None:
    """Of the turns that no host took the first that waits."""
    return next((turn_id for turn_id, state in not_taken if state == TurnState.QUEUED), None)


def _ended(work: Work, outcome: Outcome, finished_at: datetime) -> Ended:
    return Ended(
        work.turn_id,
        work.tenant_id,
        work.session_id,
        work.user.id,
        outcome.state.value,
        outcome.error_code,
        finished_at,
        outcome.usage,
    )


def _facts(outcome: Outcome, answer: UUID | None, finished_at: datetime) -> dict[str, object]:
    return {
        "state": outcome.state.value,
        "finished_at": finished_at,
        "lease_expires_at": None,
        "begun": None,
        "error_code": outcome.error_code,
        "error_message": storable(outcome.error_message)[:500],
        "error_retryable": outcome.error_retryable,
        "last_event": outcome.last_event,
        "output_message_id": answer,
        "cost": outcome.usage.cost,
        **outcome.usage.tokens(),
    }


def turn_give_back(*, work: Work) -> TurnState | None:
    """Queue a turn again that this host cannot go on with. ``cancelled``, where somebody asked it to stop:
    nothing is changed then. None when it is no longer this host's.
    """
    mine = Turn.objects.filter(
        id=work.turn_id, state=TurnState.RUNNING, lease_owner=work.owner, attempt=work.attempt
    )
    if mine.filter(cancel_requested_at=None).update(**_queued_again()):
        return TurnState.QUEUED
    return TurnState.CANCELLED if mine.exists() else None


def _queued_again() -> dict[str, object]:
    return {
        "state": TurnState.QUEUED,
        "queued_at": timezone.now(),
        "lease_owner": "",
        "lease_expires_at": None,
    }


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found: turns to host anew, and turns that it ended, as cancelled or given up."""

    waiting: list[UUID]
    over: list[Turn]


def turns_sweep() -> Swept:
    """Queue what dead hosts left running, and find all that nobody took."""
    now = timezone.now()
    swept = _taken_from_the_dead(Turn.objects.all(), now)
    swept.waiting.extend(performed(_unanswered(now)))
    swept.waiting.extend(performed(_left(now - QUEUED_TOO_LONG)))
    return swept


def turn_sweep(*, turn_id: UUID) -> Swept:
    """The same for one turn: queued ones are found however short they wait."""
    now = timezone.now()
    swept = _taken_from_the_dead(Turn.objects.filter(id=turn_id), now)
    swept.waiting.extend(performed(_left(now, turn_id)))
    return swept


def _taken_from_the_dead(turns: QuerySet[Turn], now: datetime) -> Swept:
    """What becomes of those of the turns whose lease ran out."""
    waiting: list[UUID] = []
    over: list[UUID] = []
    expired = turns.filter(state__in=HOSTED_STATES, lease_expires_at__lt=now)
    for turn in expired.only("id", "hosts_lost", "cancel_requested_at"):
        still = Turn.objects.filter(id=turn.id, state=TurnState.RUNNING, lease_expires_at__lt=now)
        if turn.cancel_requested_at is not None:
            found, facts = over, _over(TurnState.CANCELLED, now)
        elif turn.hosts_lost + 1 >= MOST_HOSTS_LOST:
            found, facts = over, _given_up(now)
        else:
            # One that is asked to stop in this moment is left to the next sweep.
            still = still.filter(cancel_requested_at=None)
            found, facts = waiting, {**_queued_again(), "hosts_lost": turn.hosts_lost + 1}
        if still.update(**facts):
            found.append(turn.id)
    if over:
        performed(calls_end(over))
    webhooks.deliveries_create(turn_ids=over)
    return Swept(waiting, list(Turn.objects.filter(id__in=over)))


def _unanswered(now: datetime) -> Script[list[UUID]]:
    """Turns that nobody answered in time: they go on without."""
    (rows,) = yield [calls.expire(now)]
    found: list[UUID] = []
    for turn_id in {turn_id for (turn_id,) in rows}:
        (_, ((number, _),)) = yield [statements.locked(turn_id), calls.unanswered(turn_id)]
        if not number:
            (queued,) = yield [statements.goes_on(turn_id)]
            found += [turn_id for (turn_id,) in queued]
    return found


def _left(since: datetime, turn_id: UUID | None = None) -> Script[list[UUID]]:
    (rows,) = yield [statements.left(since, turn_id)]
    return [turn_id for (turn_id,) in rows]


def _over(state: TurnState, now: datetime) -> dict[str, object]:
    # Which event was the last, only the stream knows.
    return {"state": state, "finished_at": now, "lease_expires_at": None, "begun": None, "last_event": 0}


def _given_up(now: datetime) -> dict[str, object]:
    return {
        **_over(TurnState.FAILED, now),
        "error_code": "host_lost",
        "error_message": f"{MOST_HOSTS_LOST} servers stopped while they were answering. Try again.",
        "error_retryable": True,
    }
