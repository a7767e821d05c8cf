"""Which services one orchestrator runs: all, all over its own servers, or the few that were named."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from somaagent.embedded.launch import Command

from . import adapters, declared
from .configuration import Configuration
from .registry import HealthAdapter, NotHealthy, Refused, Service, ServiceRegistry
from .seeding import Seeding
from .stamp import Stamp

if TYPE_CHECKING:
    from somaagent.embedded import EmbeddedServer, Stack

NOTHING_TO_DO = "nothing to do"
MODEL_URL = "SA01_LOCAL_MODEL_URL"
# What the embedded OpenBao decides when it is set up for the first time: a check before that assumes it.
KNOWN_LATER = dict.fromkeys(("SA01_VAULT_ROLE_ID", "SA01_VAULT_OWNER_ROLE_ID"), "decided-at-the-first-start")


class UsageError(Exception):
    """The command line asks for what cannot be; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The services to run. ``seeding`` is there when the first start creates an operator."""

    registry: ServiceRegistry
    seeding: Seeding | None = None


def contained(configuration: Configuration) -> Plan:
    """Every service of ours over infrastructure that others run."""
    services = declared.external_infrastructure(configuration)
    services += [declared.migrations(configuration), *declared.servers(configuration, after="migrations")]
    services += [declared.breakers(), declared.policy(), declared.mcp_servers(), declared.events()]
    return Plan(ServiceRegistry(services))


def partial(configuration: Configuration, names: Sequence[str]) -> Plan:
    """The named services of ours; each is critical here. What is not named is watched where it can be.

    A gateway elsewhere is not: containers do not know each other's addresses. Raises ``UsageError``.
    """
    unknown = sorted(set(names) - set(declared.OWN))
    if unknown or not names:
        raise UsageError(f"--only takes {', '.join(declared.OWN)}; not {', '.join(unknown) or 'nothing'}.")
    services = declared.external_infrastructure(configuration)
    services.append(
        declared.migrations(configuration) if "migrations" in names else declared.awaited_migrations()
    )
    for service in declared.servers(configuration, after="migrations"):
        if set(names) == {"migrations"}:
            break  # this orchestrator ends when they are done: it watches nobody
        if service.name in names:
            services.append(dataclasses.replace(service, critical=True, background=False))
        elif service.name != "gateway":
            services.append(_elsewhere(service))
    if set(names) != {"migrations"}:
        services += [declared.breakers(), declared.policy(), declared.mcp_servers(), declared.events()]
    return Plan(ServiceRegistry(services))


def _elsewhere(service: Service) -> Service:
    return dataclasses.replace(
        service, depends_on=("valkey",), critical=False, command=None, start_timeout=5.0
    )


def embedded(configuration: Configuration, stack: Stack, environment: StackEnvironment) -> Plan:
    """Every service of ours, over servers of our own. The stack is locked and its environment taken."""
    stamp = Stamp(configuration.run_dir, extra=(os.environ.get(MODEL_URL, ""),))
    seeding = Seeding(stamp.put)

    def skip() -> str | None:
        return NOTHING_TO_DO if stamp.valid() else None

    services = [_server(server, environment, configuration) for server in stack.servers]
    services += [
        # Our own settings need secrets, so they are read once OpenBao has them, beside the other servers.
        Service(
            name="settings",
            depends_on=("openbao",),
            prepare=configuration.load,
            health=adapters.SettingsLoaded(),
        ),
        declared.migrations(configuration, skip=skip, after=("settings", "postgres")),
        declared.seed(seeding, skip=skip, model_url=lambda: os.environ.get(MODEL_URL)),
        *declared.servers(configuration, after="seed"),
        declared.breakers(after=("settings", "valkey")),
        declared.policy(after=("settings",)),
        declared.mcp_servers(after=("settings", "valkey")),
        declared.events(),
    ]
    return Plan(ServiceRegistry(services), seeding)


class Ready:
    """The gate of an embedded server: its own idea of being ready."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server

    def check(self, pid: int | None) -> None:
        from somaagent.embedded import NotReady  # noqa: PLC0415 - containers do not have the servers' wheels

        try:
            self._server.ready()
        except NotReady as answer:
            raise NotHealthy(str(answer)) from answer


def _server(server: EmbeddedServer, environment: StackEnvironment, configuration: Configuration) -> Service:
    """An embedded server as a service. All wait for OpenBao, which has their passwords."""
    then = {service.name: service.health for service in declared.external_infrastructure(configuration)}
    health: HealthAdapter = Ready(server)
    staged = adapters.Staged(health, then.get(server.name) or health)

    def configure() -> None:
        server.configure()
        environment.take()
        staged.configured()

    def command() -> Command:
        return server.command()

    return Service(
        name=server.name,
        depends_on=() if server.name == "openbao" else ("openbao",),
        critical=server.name in declared.INFRASTRUCTURE,
        prepare=server.prepare,
        command=command,
        health=staged,
        configure=configure,
        stop_timeout=15.0,
    )


class StackEnvironment:
    """Makes the embedded servers' settings ours and our children's, again whenever there are more of them."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._taken: set[str] = set()

    def take(self) -> None:
        """Raises ``Refused`` when a setting is something else already: two sources would be in dispute."""
        wanted = self._stack.environment()
        disputed = [
            name
            for name, value in sorted(wanted.items())
            if name not in self._taken and os.environ.get(name, value) != value
        ]
        if disputed:
            raise Refused(
                f"--embedded decides {', '.join(disputed)}, which the environment sets too: "
                "unset it, or leave --embedded out."
            )
        os.environ.update(wanted)
        self._taken.update(wanted)
