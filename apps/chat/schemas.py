"""What the API takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from ninja import Schema
from pydantic import Field, StrictBool

from somaagent.money import decimal_text
from somaagent.web.bodies import Body
from somaagent.web.text import Slug, Text

from .models import OnBusy
from .selectors import TurnRow
from .services import Place

Busy = Annotated[
    OnBusy,
    Field(description="While a turn runs in the session: refuse (409), wait for it, or stop it."),
]


class TurnIn(Body):
    input: Annotated[Text, Field(min_length=1, description="What the user says.")]
    session_id: Annotated[UUID | None, Field(description="Left out: a new session begins.")] = None
    agent: Annotated[Slug | None, Field(description="For a new session: the agent's slug.")] = None
    after: Annotated[
        UUID | None,
        Field(description="An answer that the input follows. Left out: the end of the active branch."),
    ] = None
    replaces: Annotated[
        UUID | None,
        Field(description="A message of the user that the input replaces, on a branch beside it."),
    ] = None
    on_busy: Busy = OnBusy.REJECT
    stream: Annotated[StrictBool, Field(description="True: answer with the turn's events.")] = False
    background: Annotated[StrictBool, Field(description="True: a worker answers; nobody waits.")] = False

    def place(self) -> Place:
        return Place(self.after, self.replaces)


class RetryIn(Body):
    on_busy: Busy = OnBusy.REJECT


class UsageOut(Schema):
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Annotated[
        str | None,
        Field(
            pattern=r"^\d+(\.\d+)?$",
            description="A decimal string, in the currency of the model profile's prices; null: not known.",
        ),
    ]


class TurnError(Schema):
    code: str
    message: str
    retryable: bool


class TurnOut(Schema):
    id: UUID
    session_id: UUID
    input_message_id: UUID
    output_message_id: UUID | None
    state: str
    output: str | None
    usage: UsageOut
    error: TurnError | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def told(turn: TurnRow) -> dict[str, Any]:
    """The fields of ``TurnOut``."""
    return {
        "id": turn.id,
        "session_id": turn.session_id,
        "input_message_id": turn.input_message_id,
        "output_message_id": turn.output_message_id,
        "state": turn.state,
        "output": turn.output,
        "usage": {
            "input_tokens": turn.input_tokens,
            "cached_tokens": turn.cached_tokens,
            "output_tokens": turn.output_tokens,
            "reasoning_tokens": turn.reasoning_tokens,
            "cost": decimal_text(turn.cost),
        },
        "error": _error(turn),
        "created_at": turn.created_at,
        "started_at": turn.started_at,
        "finished_at": turn.finished_at,
    }


def _error(turn: TurnRow) -> dict[str, Any] | None:
    if not turn.error_code:
        return None
    return {"code": turn.error_code, "message": turn.error_message, "retryable": turn.error_retryable}
