"""Reads on turns. All run inside the tenant's scope."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import Count

from somaagent.errors import not_found
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import Role

from .models import OPEN_STATES, Call, CallState, Turn, TurnState

if TYPE_CHECKING:
    from django.db.models import QuerySet


# Who may be asked to approve what others' turns want to do: the policy decides whether they may.
ELDERS = frozenset({Role.OWNER.value, Role.ADMIN.value})


def turn_get(*, actor: Actor, turn_id: UUID) -> Turn:
    turn = turns_of(actor).filter(id=turn_id).first()
    if turn is None:
        raise not_found("turn")
    return turn


def turn_read(*, turn_id: UUID) -> Turn:
    """A turn of the tenant, with its answer, for code that knows whose it is."""
    return Turn.objects.select_related("output_message").get(id=turn_id)


def turn_list(*, actor: Actor, session_id: UUID | None) -> QuerySet[Turn]:
    turns = turns_of(actor)
    return turns.filter(session_id=session_id) if session_id else turns


def turn_states(*, since: datetime) -> dict[str, int]:
    """How many of the tenant's turns that began since then are in each state, for its operator."""
    counted = Turn.objects.filter(created_at__gte=since).values_list("state").annotate(turns=Count("id"))
    found = dict(counted.order_by())
    return {state.value: found.get(state.value, 0) for state in TurnState}


def turns_open(*, session_id: UUID) -> QuerySet[Turn]:
    """The session's running turn and those that wait, oldest first."""
    return Turn.objects.filter(session_id=session_id, state__in=OPEN_STATES).order_by("id")


def approvals_waiting(*, actor: Actor) -> QuerySet[Call]:
    """The calls that wait for an answer: of the actor's own turns; of all, where others may ask them too."""
    waiting = Call.objects.filter(
        state=CallState.AWAITING, answer="", turn__state=TurnState.AWAITING_APPROVAL
    )
    return waiting if actor.role in ELDERS else waiting.filter(turn__user_id=actor.user_id)


def turns_of(actor: Actor) -> QuerySet[Turn]:
    return Turn.objects.filter(user_id=actor.user_id).select_related("output_message")
