"""Figures of a tenant's turns for its operators. All run inside the tenant's scope."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, QuerySet

from somaagent.tenancy.fields import made_between

from .models import OPEN_STATES, Call, CallState, Turn, TurnState
from .oversight import only_stuck


@dataclass(frozen=True, slots=True)
class Failure:
    """How many turns failed with an error code."""

    code: str
    turns: int


@dataclass(frozen=True, slots=True)
class Recent:
    """Turns that began in a stretch of time: by state, and those that failed by reason, most first."""

    states: dict[str, int]
    failures: list[Failure]

    @property
    def turns(self) -> int:
        return sum(self.states.values())


@dataclass(frozen=True, slots=True)
class Open:
    """Turns that are not over, whenever they began. ``stuck``: how many of ``oversight.only_stuck``."""

    states: dict[str, int]
    stuck: int


def turns_since(moment: datetime) -> Recent:
    rows = Turn.objects.filter(made_between(moment, None))
    found = rows.values_list("state", "error_code").annotate(turns=Count("pk")).order_by()
    states = dict.fromkeys(TurnState.values, 0)
    failures: dict[str, int] = {}
    for state, code, turns in found:
        states[state] += turns
        if state == TurnState.FAILED:
            failures[code] = failures.get(code, 0) + turns
    most_first = sorted(failures.items(), key=lambda one: (-one[1], one[0]))
    return Recent(states, [Failure(code, turns) for code, turns in most_first])


def turns_open() -> Open:
    found = Turn.objects.filter(state__in=OPEN_STATES).values_list("state").annotate(turns=Count("pk"))
    states = {state.value: 0 for state in OPEN_STATES} | dict(found.order_by())
    return Open(states, only_stuck(Turn.objects.all()).count())


def turns_exist() -> bool:
    # In an order, by the tenant's index: in none, plans begin with whatever is first in the table of all.
    return Turn.objects.order_by("-id").values_list("pk").first() is not None


def calls_waiting() -> QuerySet[Call]:
    """The calls of all turns that wait for somebody's approval, oldest first."""
    waiting = Call.objects.filter(
        state=CallState.AWAITING, answer="", turn__state=TurnState.AWAITING_APPROVAL
    )
    return waiting.order_by("id")
