"""Recorded decisions, judged again: what another policy would have said of them.

The record masks secrets and shortens long texts (``recordable``), so that rules over those may say
something else of it than they would have said of the call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from somaagent.tenancy.fields import first_id
from somaagent.tenancy.scope import in_tenant

from .models import ToolDecision
from .policy import judging
from .policy.engines import Engine
from .policy.inputs import Decision

PART = 200


@dataclass(frozen=True, slots=True)
class Replayed:
    """A decision on record, and what the other policy says of its input."""

    was: ToolDecision
    would_be: Decision

    @property
    def is_changed(self) -> bool:
        """Whether its effect is another one. A reason in other words is no change."""
        return self.was.effect != self.would_be.effect.value


async def replayed(
    tenant_id: UUID, *, engine: Engine | None, since: datetime | None, limit: int
) -> AsyncIterator[Replayed]:
    """The tenant's newest decisions, at most ``limit``, newest first; without ``engine`` by the one in force.

    What the policy does not answer is denied, as it would be in force; such a decision names no policy.
    """
    before: UUID | None = None
    while limit > 0:
        rows = await in_tenant(tenant_id, _part, before, since, min(PART, limit))
        for row in rows:
            yield Replayed(row, await judging.decide_data(row.input, engine=engine))
        if not rows:
            return
        limit, before = limit - len(rows), rows[-1].id


def decision_count(*, since: datetime | None) -> int:
    """Of the tenant whose scope is open."""
    return _recorded(None, since).count()


def _part(before: UUID | None, since: datetime | None, most: int) -> list[ToolDecision]:
    return list(_recorded(before, since).order_by("-id")[:most])


def _recorded(before: UUID | None, since: datetime | None) -> QuerySet[ToolDecision]:
    found = ToolDecision.objects.all()
    if before is not None:
        found = found.filter(id__lt=before)
    return found if since is None else found.filter(id__gte=first_id(since))
