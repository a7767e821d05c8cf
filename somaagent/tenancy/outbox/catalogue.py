"""The catalogue: each type of event, and what its ``data`` holds. ``docs/events.md`` is written from it.

Fields are added, never changed or taken away: who reads events passes over what they do not know.
"""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

Tokens = Annotated[int, Field(ge=0)]
# A text, so that nobody reads it as a binary fraction.
Money = Annotated[str, Field(pattern=r"^\d+(\.\d+)?$")] | None


class Used(BaseModel):
    """The sum of a turn's steps."""

    input_tokens: Tokens
    cached_tokens: Tokens = Field(description="Part of the input tokens.")
    output_tokens: Tokens
    reasoning_tokens: Tokens = Field(description="Part of the output tokens.")
    cost: Money = Field(description="Null where a price is missing.")


class TurnFinished(BaseModel):
    """A turn ended: it was answered, failed, or was cancelled. The subject is the turn."""

    turn_id: UUID
    session_id: UUID
    user_id: UUID
    state: Literal["completed", "failed", "cancelled"]
    error_code: str = Field(description="Empty unless it failed.")
    finished_at: AwareDatetime
    usage: Used


class ToolCalled(BaseModel):
    """A call of a tool came to its end, whether it ran or not. The subject is its record."""

    user_id: UUID
    session_id: UUID | None
    turn_id: UUID | None = Field(description="Null where no turn called it.")
    call_id: str
    tool: str
    source: str = Field(description="Who offers the tool; empty where there is no such tool.")
    outcome: Literal["ok", "failed", "timed_out", "refused", "denied", "expired", "cancelled", "cut_short"]
    answer: Literal["", "approved", "denied", "expired"] = Field(
        description="What became of the question whether it may run; empty where nobody was asked."
    )
    seconds: float | None = Field(description="How long it ran; null where it did not run.")


class UsageRecorded(BaseModel):
    """One step was written down in the ledger: what to bill by. The subject is the run, the event's id the
    ledger's row. A turn of several steps has an event for each.
    """

    usage_id: UUID = Field(description="The ledger's row; also the event's id.")
    recorded_at: AwareDatetime
    source: Literal["turn", "completion", "embeddings"]
    run_id: UUID = Field(description="The turn's; of what is no turn, an id of its own.")
    step: int = Field(ge=0, description="Counts the run's steps.")
    user_id: UUID
    api_key_id: UUID | None = Field(description="Null where no API key was used.")
    agent_id: UUID | None
    agent: str
    profile: str = Field(description="The model profile that answered.")
    input_tokens: Tokens
    cached_tokens: Tokens = Field(description="Part of the input tokens.")
    output_tokens: Tokens
    reasoning_tokens: Tokens = Field(description="Part of the output tokens.")
    input_price: Money = Field(description="For a million tokens, at that moment.")
    cached_price: Money
    output_price: Money
    reasoning_price: Money
    cost: Money = Field(description="Null where a price is missing or nothing was counted.")
    estimated: bool = Field(description="The step was cut short: the numbers are our guess.")


class AuditRecorded(BaseModel):
    """Somebody did something that the audit keeps. The subject is the entry. Its facts are not told."""

    number: int = Field(ge=1, description="Counts the organisation's entries, without gaps.")
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] = Field(
        description="SHA-256 over the entry and the digest of the one before it."
    )
    user_id: UUID | None = Field(description="Who did it; null where nobody was signed in.")
    via: str
    request_id: str
    action: str = Field(description="One of those that docs/operations.md lists.")
    target_type: str
    target_id: str


CATALOGUE: dict[str, type[BaseModel]] = {
    "turn.finished": TurnFinished,
    "tool.called": ToolCalled,
    "usage.recorded": UsageRecorded,
    "audit.recorded": AuditRecorded,
}
