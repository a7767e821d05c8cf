"""What managers see of everybody's turns: how they run and what they cost, never what is said in them.

Reads, inside the tenant's scope.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.apps import apps
from django.db.models import Case, Exists, OuterRef, Q, Subquery, Value, When
from django.utils import timezone

from somaagent.agent.messages import Usage
from somaagent.errors import not_found
from somaagent.tenancy.fields import made_between

from .models import HOSTED_STATES, OPEN_STATES, Call, Step, Turn, TurnState

if TYPE_CHECKING:
    from django.db.models import QuerySet

# The sweep has offered it to the workers several times by then.
LEFT_TOO_LONG = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class StepInShort:
    """One step that is done: what its model used, why it stopped, and which tools it asked for."""

    number: int
    created_at: datetime
    profile: str
    finish_reason: str
    tools: list[str]
    usage: Usage


def turns_of_everybody(
    *,
    state: str | None = None,
    agent: str | None = None,
    user_id: UUID | None = None,
    session_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    stuck: bool = False,
) -> QuerySet[Turn]:
    """The tenant's turns that have all that is given, newest first; with ``stuck`` those of ``only_stuck``.

    ``agent`` is a slug; ``until`` is not in it.
    """
    # Not by a join: with one, all of a tenant's turns may be sorted to find the newest.
    turns = Turn.objects.prefetch_related("user", "session__agent").annotate(waits=_waits())
    given: dict[str, Any] = {"state": state, "user_id": user_id, "session_id": session_id}
    if agent is not None:
        turns = turns.alias(agent_slug=_agent_slug()).filter(agent_slug=agent)
    turns = turns.filter(**{name: value for name, value in given.items() if value is not None})
    turns = turns.filter(made_between(since, until))
    # What somebody asked for may be long, and is nobody else's to read.
    return (only_stuck(turns) if stuck else turns).defer("request", "begun").order_by("-id")


def _agent_slug() -> Subquery:
    session = apps.get_model("agent_sessions", "Session").objects.filter(id=OuterRef("session_id"))
    return Subquery(session.values("agent__slug")[:1])


def only_stuck(turns: QuerySet[Turn]) -> QuerySet[Turn]:
    """Those that nobody works at: their lease ran out, or they wait for a host for too long."""
    now = timezone.now()
    lost = Q(state=TurnState.RUNNING, lease_expires_at__lt=now)
    left = Q(state=TurnState.QUEUED, queued_at__lt=now - LEFT_TOO_LONG) & ~Q(_waits_for_another())
    return turns.filter(Q(state__in=HOSTED_STATES) & (lost | left))


def _waits() -> Case:
    """``_waits_for_another``, asked of queued turns alone: a session may have thousands to look through."""
    return Case(When(state=TurnState.QUEUED, then=_waits_for_another()), default=Value(False))


def _waits_for_another() -> Exists:
    """Whether a queued turn's time has not come: another one of its session is before it."""
    before = Turn.objects.filter(session_id=OuterRef("session_id"), state__in=OPEN_STATES)
    return Exists(before.filter(~Q(state=TurnState.QUEUED) | Q(id__lt=OuterRef("id"))))


def stuck_because(turn: Turn) -> str:
    """Why nobody works at a turn of ``turns_of_everybody``, in a sentence; empty where it is not stuck."""
    now = timezone.now()
    expires = turn.lease_expires_at
    if turn.state == TurnState.RUNNING and expires is not None and expires < now:
        return f"Its host {turn.lease_owner} is silent: its lease ran out {_seconds(now - expires)} s ago."
    if turn.state == TurnState.QUEUED and turn.queued_at < now - LEFT_TOO_LONG and not turn.waits:  # type: ignore[attr-defined]  # annotated
        return f"No host has taken it in {_seconds(now - turn.queued_at)} s."
    return ""


def _seconds(span: timedelta) -> int:
    return int(span.total_seconds())


def turn_overseen(*, turn_id: UUID) -> Turn:
    """Anybody's turn. Raises ``not_found``."""
    turn = turns_of_everybody().filter(id=turn_id).first()
    if turn is None:
        raise not_found("turn")
    return turn


def steps_in_short(*, turn_id: UUID) -> list[StepInShort]:
    """The turn's steps that are done, oldest first."""
    return [_in_short(step) for step in Step.objects.filter(turn_id=turn_id).order_by("number")]


def _in_short(step: Step) -> StepInShort:
    data = step.data
    calls = data["message"].get("tool_calls") or []
    return StepInShort(
        number=step.number,
        created_at=step.created_at,
        profile=data["profile"],
        finish_reason=data["finish_reason"],
        tools=[call["name"] for call in calls],
        usage=Usage.from_data(data["usage"]),
    )


def calls_in_short(*, turn_id: UUID) -> QuerySet[Call]:
    """The turn's calls of tools, oldest first, without what they were given and what they gave."""
    calls = Call.objects.filter(turn_id=turn_id).order_by("step", "id")
    return calls.defer("arguments", "edited_arguments", "result", "reason", "answer_reason")
