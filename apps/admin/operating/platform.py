"""What operators see of the platform: its services, and its settings with where they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from django.conf import settings

from somaagent.observability.health import GOOD, HealthRecord, ServiceHealth, age_seconds
from somaagent.web import health

# Who may see all tenants may see what belongs to none.
SEES_PLATFORM = "tenancy.view_tenant"
Fact = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A service, and for how long it has been as it is."""

    name: str
    health: ServiceHealth
    seconds: float

    @property
    def is_good(self) -> bool:
        return self.health.state in GOOD

    @property
    def since(self) -> datetime:
        return datetime.fromisoformat(self.health.since)


@dataclass(frozen=True, slots=True)
class Services:
    """All services at the moment of ``record``, ``age`` seconds ago, those in trouble first."""

    record: HealthRecord
    age: float
    states: list[ServiceState]


def services() -> Services:
    record = health.current()
    states = [ServiceState(name, each, _seconds_since(each.since)) for name, each in record.services.items()]
    states.sort(key=lambda state: (state.is_good, not state.health.critical, state.name))
    return Services(record, max(0.0, age_seconds(record)), states)


def settings_in_force(*, words: str = "") -> list[Fact]:
    """The settings as this process was started with them; those that have all the words somewhere."""
    wanted = words.casefold().split()
    found: list[Fact] = list(settings.PUBLISHED_SETTINGS)
    return [fact for fact in found if all(word in _text_of(fact) for word in wanted)]


def by_section(facts: list[Fact]) -> list[tuple[str, list[Fact]]]:
    """In the order in which they are declared."""
    return [
        (section, list(found)) for section, found in groupby(facts, key=lambda fact: str(fact["section"]))
    ]


def _text_of(fact: Fact) -> str:
    names = ("name", "section", "doc", "source", "state", "value")
    return " ".join(str(fact[name] or "") for name in names).casefold()


def _seconds_since(moment: str) -> float:
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
