"""What the API takes and gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from ninja import Schema
from pydantic import Field, StrictBool, StringConstraints

from somaagent.web.bodies import Body
from somaagent.web.text import Slug, Text, Title

from .models import MissedRuns, Schedule, ScheduleRun, SessionPolicy

Prompt = Annotated[Text, Field(min_length=1, description="What the agent is asked, each time.")]
Cron = Annotated[
    Text,
    StringConstraints(min_length=1, max_length=100),
    Field(description="Five fields, as in Debian's cron: minute, hour, day of the month, month, weekday."),
]
TimeZone = Annotated[
    Text,
    StringConstraints(min_length=1, max_length=64),
    Field(description="Where the expression is read: a name of the IANA database, for example Europe/Paris."),
]
Policy = Annotated[
    SessionPolicy, Field(description="new: each run in a session of its own; same: all in one that goes on.")
]
Missed = Annotated[
    MissedRuns,
    Field(description="Of runs that were due while the platform was off: run_once for them all, or skip."),
]


class ScheduleIn(Body):
    prompt: Prompt
    cron: Cron
    time_zone: TimeZone
    name: Annotated[Title, Field(description="Empty: taken from the prompt.")] = ""
    agent: Annotated[Slug | None, Field(description="The agent's slug; the default one if left out.")] = None
    session_policy: Policy = SessionPolicy.NEW
    missed_runs: Missed = MissedRuns.RUN_ONCE
    enabled: StrictBool = True


class SchedulePatch(Body):
    prompt: Prompt | None = None
    cron: Cron | None = None
    time_zone: TimeZone | None = None
    name: Annotated[Title, Field(min_length=1)] | None = None
    agent: Slug | None = None
    session_policy: Policy | None = None
    missed_runs: Missed | None = None
    enabled: Annotated[StrictBool | None, Field(description="false pauses, true resumes.")] = None

    def changes(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class Reason(Schema):
    code: str
    message: str

    @classmethod
    def of(cls, code: str, message: str) -> Self | None:
        return cls(code=code, message=message) if code else None


class ScheduleOut(Schema):
    id: UUID
    name: str
    prompt: str
    agent: Annotated[str | None, Field(description="Null: it was deleted.")]
    cron: str
    time_zone: str
    session_policy: SessionPolicy
    session_id: Annotated[UUID | None, Field(description="The session that goes on, once it began.")]
    missed_runs: MissedRuns
    enabled: bool
    paused: Annotated[Reason | None, Field(description="Why the platform paused it.")]
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_turn_id: UUID | None
    created_at: datetime

    @staticmethod
    def resolve_agent(schedule: Schedule) -> str | None:
        return schedule.agent.slug if schedule.agent else None

    @staticmethod
    def resolve_paused(schedule: Schedule) -> Reason | None:
        return Reason.of(schedule.paused_code, schedule.paused_message)


class RunOut(Schema):
    id: UUID
    planned_at: Annotated[datetime | None, Field(description="Null: it was asked for by hand.")]
    created_at: datetime
    outcome: str
    reason: Annotated[Reason | None, Field(description="Why there is no turn.")]
    turn_id: UUID | None
    turn_state: str | None

    @staticmethod
    def resolve_reason(run: ScheduleRun) -> Reason | None:
        return Reason.of(run.reason_code, run.reason_message)

    @staticmethod
    def resolve_turn_state(run: ScheduleRun) -> str | None:
        return run.turn.state if run.turn else None


class PreviewQuery(Schema):
    cron: Cron
    time_zone: TimeZone


class ComingRun(Schema):
    """A time in UTC, and the same with the offset that the time zone has then."""

    at: datetime
    local: str

    @classmethod
    def of(cls, local: datetime) -> Self:
        return cls(at=local.astimezone(UTC), local=local.isoformat())


class Preview(Schema):
    cron: str
    time_zone: str
    runs: list[ComingRun]
