"""What a service is, and the registry that knows in which order services start and stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Protocol

from somaagent.embedded.launch import Command


class RegistryError(Exception):
    """The declared services contradict each other; the message says which and how."""


class NotHealthy(Exception):  # noqa: N818 - it is an answer, as much as a failure
    """The answer of a health check: not yet, or no longer, and why."""


class Refused(Exception):  # noqa: N818 - as above
    """What a service needs will not come by waiting (a wrong setting, a damaged file): stop asking."""


class HealthAdapter(Protocol):
    """Asks one service whether it does its work. Called in a thread, with a time limit."""

    def check(self, pid: int | None) -> None:
        """Return when the service is well; raise ``NotHealthy`` with a reason when not.

        ``pid`` is the service's process, None when it is not ours.
        """


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a service that died is started again. After ``limit`` deaths within ``window`` seconds: never."""

    first_delay: float = 0.5
    longest_delay: float = 30.0
    limit: int = 5
    window: float = 300.0

    def delay(self, deaths: int) -> float:
        """Seconds to wait after the nth death in the window."""
        return float(min(self.first_delay * 2.0 ** max(deaths - 1, 0), self.longest_delay))


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One thing that SomaAgent needs to run.

    ``command`` is asked for at each start, since addresses are known only once earlier services are
    configured; a service without one is external: it is watched, never started. ``prepare`` runs before the
    start and ``configure`` once the service is ready, each in a thread. ``skip`` lets a one-shot service say
    that there is nothing to do (a sentence), ``repeat_seconds`` makes one run again until it succeeds, and
    ``consume`` takes lines of output that must not be logged. A ``background`` service leaves the processor
    to the others when they want it. Times are in seconds.
    """

    name: str
    depends_on: tuple[str, ...] = ()
    critical: bool = True
    background: bool = False
    command: Callable[[], Command] | None = None
    one_shot: bool = False
    health: HealthAdapter | None = None
    prepare: Callable[[], None] | None = None
    configure: Callable[[], None] | None = None
    skip: Callable[[], str | None] | None = None
    consume: Callable[[str], bool] | None = None
    repeat_seconds: float | None = None
    start_timeout: float = 60.0
    stop_timeout: float = 10.0
    check_timeout: float = 3.0
    hung_after: float | None = None
    restart: RestartPolicy = field(default_factory=RestartPolicy)

    @property
    def external(self) -> bool:
        return self.command is None

    @property
    def kind(self) -> str:
        if self.external:
            return "external"
        return "one-shot" if self.one_shot else "long-running"


class ServiceRegistry:
    """Declared services in dependency order. Raises ``RegistryError`` when they contradict each other."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._services: dict[str, Service] = {}
        for service in services:
            if service.name in self._services:
                raise RegistryError(f"Two services are named {service.name!r}.")
            self._services[service.name] = service
        for service in self._services.values():
            self._validate(service)
        self.order: tuple[str, ...] = self._sorted()

    def _validate(self, service: Service) -> None:
        for name in service.depends_on:
            dependency = self._services.get(name)
            if dependency is None:
                known = ", ".join(sorted(self._services))
                raise RegistryError(
                    f"{service.name!r} depends on {name!r}, which is not declared. Declared: {known}."
                )
            if service.critical and not dependency.critical:
                raise RegistryError(
                    f"{service.name!r} is critical but depends on {name!r}, which is not: "
                    f"make {name!r} critical or drop the dependency."
                )
        if service.external and service.health is None:
            raise RegistryError(f"{service.name!r} has neither a command nor a health adapter.")
        if service.one_shot and service.external:
            raise RegistryError(f"{service.name!r} is one-shot but has no command.")

    def _sorted(self) -> tuple[str, ...]:
        graph = {service.name: service.depends_on for service in self._services.values()}
        try:
            return tuple(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = " -> ".join(reversed(error.args[1]))
            raise RegistryError(f"Services depend on each other in a circle: {circle}.") from error

    def __iter__(self) -> Iterator[Service]:
        """Services in the order in which they start."""
        return (self._services[name] for name in self.order)

    def __getitem__(self, name: str) -> Service:
        return self._services[name]

    def __contains__(self, name: object) -> bool:
        return name in self._services

    def dependents(self, name: str) -> tuple[str, ...]:
        """The services that depend directly on this one."""
        return tuple(service.name for service in self if name in service.depends_on)
