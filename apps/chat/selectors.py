"""Reads on turns. All run inside the tenant's scope; those of the API are scripts, for either lane."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, Self
from uuid import UUID

from django.db.models import Count
from django.db.models.functions import Left, Length

from somaagent.errors import not_found
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import Role
from somaagent.tenancy.scripts import Script, Statement, rows_of
from somaagent.web.pagination import PageQuery, Part, page_script

from .models import HOSTED_STATES, OPEN_STATES, Call, CallState, Step, Turn, TurnState

if TYPE_CHECKING:
    from django.db.models import QuerySet


# Who may be asked to approve what others' turns want to do: the policy decides whether they may.
ELDERS = frozenset({Role.OWNER.value, Role.ADMIN.value})


def turn_get(*, actor: Actor, turn_id: UUID) -> Turn:
    turn = turns_of(actor).filter(id=turn_id).first()
    if turn is None:
        raise not_found("turn")
    return turn


def turns_hosted() -> int:
    """How many turns of the tenant run, or wait for a host."""
    return Turn.objects.filter(state__in=HOSTED_STATES).count()


def turn_read(*, turn_id: UUID) -> Turn:
    """A turn of the tenant, with its answer, for code that knows whose it is."""
    return Turn.objects.select_related("output_message").get(id=turn_id)


class TurnRow(NamedTuple):
    """A turn as it is told, with the text of its answer."""

    id: UUID
    session_id: UUID
    input_message_id: UUID
    output_message_id: UUID | None
    state: str
    output: str | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Decimal | None
    error_code: str
    error_message: str
    error_retryable: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, turn: Turn) -> Self:
        """The same of a turn that is at hand."""
        output = turn.output_message.text if turn.output_message else None
        return cls._make(output if name == "output" else getattr(turn, name) for name in cls._fields)


_ANSWER = "(SELECT text FROM agent_sessions_message message WHERE message.id = turn.output_message_id)"
_COLUMNS = ", ".join(_ANSWER if name == "output" else name for name in TurnRow._fields)
_TURNS = f"SELECT {_COLUMNS} FROM chat_turn turn WHERE user_id = %(user)s"  # noqa: S608 names of ours


def turn_page(*, actor: Actor, session_id: UUID | None, query: PageQuery) -> Script[Part[TurnRow]]:
    """The actor's turns, newest first; those of one session where it is named."""
    sql = f"{_TURNS} AND session_id = %(session)s" if session_id else _TURNS
    return page_script(sql, {"user": actor.user_id, "session": session_id}, TurnRow, query)


def turn_told(*, actor: Actor, turn_id: UUID) -> Script[TurnRow]:
    """The actor's turn. Raises ``not_found``."""
    facts = {"user": actor.user_id, "turn": turn_id}
    rows = yield from rows_of(Statement(f"{_TURNS} AND id = %(turn)s", facts))
    if not rows:
        raise not_found("turn")
    return TurnRow(*rows[0])


def turn_states(*, since: datetime) -> dict[str, int]:
    """How many of the tenant's turns that began since then are in each state, for its operator."""
    counted = Turn.objects.filter(created_at__gte=since).values_list("state").annotate(turns=Count("id"))
    found = dict(counted.order_by())
    return {state.value: found.get(state.value, 0) for state in TurnState}


def turns_open(*, session_id: UUID) -> QuerySet[Turn]:
    """The session's running turn and those that wait, oldest first."""
    return Turn.objects.filter(session_id=session_id, state__in=OPEN_STATES).order_by("id")


def calls_of(*, turn_ids: Iterable[UUID], most: int) -> QuerySet[Call]:
    """The calls of turns as people read them, oldest first: ``shown_result`` is the first ``most`` characters
    of the ``result_length`` that a result has.
    """
    calls = Call.objects.filter(turn_id__in=list(turn_ids)).defer("result").order_by("id")
    return calls.annotate(shown_result=Left("result", most), result_length=Length("result"))


def thoughts_of(*, turn_ids: Iterable[UUID]) -> dict[UUID, str]:
    """What the models of turns thought in the steps that are done, as far as they said it."""
    steps = Step.objects.filter(turn_id__in=list(turn_ids), data__message__has_key="reasoning")
    found: dict[UUID, list[str]] = {}
    for turn_id, pieces in steps.order_by("number").values_list("turn_id", "data__message__reasoning"):
        found.setdefault(turn_id, []).extend(piece["text"] for piece in pieces if piece["text"])
    return {turn_id: "\n\n".join(texts) for turn_id, texts in found.items()}


def sessions_asking(*, session_ids: Iterable[UUID]) -> set[UUID]:
    """Those of the sessions in which a call waits for approval; its turn may still run others."""
    opened = Turn.objects.filter(session_id__in=list(session_ids), state__in=OPEN_STATES)
    asking = opened.filter(calls__state=CallState.AWAITING, calls__answer="")
    return set(asking.values_list("session_id", flat=True))


def approvals_waiting(*, actor: Actor) -> QuerySet[Call]:
    """The calls that wait for an answer: of the actor's own turns; of all, where others may ask them too."""
    waiting = Call.objects.filter(
        state=CallState.AWAITING, answer="", turn__state=TurnState.AWAITING_APPROVAL
    )
    return waiting if actor.role in ELDERS else waiting.filter(turn__user_id=actor.user_id)


def turns_of(actor: Actor) -> QuerySet[Turn]:
    return Turn.objects.filter(user_id=actor.user_id).select_related("output_message")
