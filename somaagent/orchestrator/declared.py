"""SomaAgent's own services, declared: migrations, seed, gateway, worker, scheduler."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from somaagent.embedded.launch import Command

from . import adapters
from .configuration import PROJECT_ROOT, Configuration
from .registry import HealthAdapter, RegistryError, RestartPolicy, Service
from .seeding import Seeding

INFRASTRUCTURE = ("openbao", "postgres", "valkey")
OWN = ("migrations", "gateway", "worker", "scheduler")
MIGRATE_SECONDS = 600.0
START_SECONDS = 120.0
STOP_MARGIN = 8.0  # beyond the drain, for the last work of processes that have drained
GATEWAY_HUNG_SECONDS = 60.0


def python(
    *arguments: str,
    environment: Callable[[], Mapping[str, str]] | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    death_signal: signal.Signals = signal.SIGTERM,
) -> Callable[[], Command]:
    """A command that runs our interpreter in the tree, with the environment as it is when it starts."""

    def command() -> Command:
        return Command(
            argv=[sys.executable, *arguments],
            env=dict(environment() if environment else os.environ),
            cwd=PROJECT_ROOT,
            stop_signal=stop_signal,
            death_signal=death_signal,
        )

    return command


def manage(
    *arguments: str, environment: Callable[[], Mapping[str, str]] | None = None
) -> Callable[[], Command]:
    return python("manage.py", *arguments, environment=environment)


def external_infrastructure(configuration: Configuration) -> list[Service]:
    """Servers that others run: watched, and needed."""
    checks: dict[str, HealthAdapter] = {
        "openbao": adapters.OpenBao(
            address=lambda: str(configuration.plain("SA01_VAULT_ADDR")),
            ca_file=lambda: _optional_path(configuration.plain("SA01_VAULT_CA_FILE")),
        ),
        "postgres": adapters.PostgreSQL(),
        "valkey": adapters.Valkey(),
    }
    return [Service(name=name, health=check, start_timeout=60.0) for name, check in checks.items()]


def breakers(*, after: tuple[str, ...] = ("valkey",)) -> Service:
    """Not a server: the circuit breakers of all processes, which degrade health while one is not closed."""
    return Service(
        name="breakers", depends_on=after, critical=False, health=adapters.Breakers(), start_timeout=1.0
    )


def policy(*, after: tuple[str, ...] = ()) -> Service:
    """Not a server of ours: the engine that judges calls of tools, without which all of them are denied."""
    return Service(
        name="policy", depends_on=after, critical=False, health=adapters.Policy(), start_timeout=30.0
    )


def mcp_servers(*, after: tuple[str, ...] = ("valkey",)) -> Service:
    """Not a server either: those of tenants, which degrade health while one is known to be broken."""
    return Service(
        name="mcp_servers",
        depends_on=after,
        critical=False,
        health=adapters.McpServers(),
        start_timeout=1.0,
    )


def events(*, after: tuple[str, ...] = ("migrations",)) -> Service:
    """Not a server: what is to be published, which degrades health while its publisher is behind."""
    return Service(
        name="events", depends_on=after, critical=False, health=adapters.Events(), start_timeout=30.0
    )


def _optional_path(value: object) -> Path | None:
    return Path(str(value)) if value else None


def migrations(
    configuration: Configuration,
    *,
    skip: Callable[[], str | None] | None = None,
    after: tuple[str, ...] = ("openbao", "postgres"),
) -> Service:
    """Applies migrations, as the role that owns the tables."""

    def owner() -> dict[str, str]:
        try:
            return configuration.owner_environment(os.environ)
        except KeyError as error:
            raise RegistryError(
                f"Migrations run as the tables' owner, which needs {error.args[0]} to be set."
            ) from error

    return Service(
        name="migrations",
        depends_on=after,
        command=manage("migrate_locked", environment=owner),
        one_shot=True,
        start_timeout=MIGRATE_SECONDS,
        skip=skip,
    )


def awaited_migrations() -> Service:
    """Waits until another container has applied all migrations."""
    return Service(
        name="migrations",
        depends_on=("openbao", "postgres"),
        command=manage("migrate_locked", "--check"),
        one_shot=True,
        repeat_seconds=2.0,
        start_timeout=MIGRATE_SECONDS,
    )


def seed(seeding: Seeding, *, skip: Callable[[], str | None], model_url: Callable[[], str | None]) -> Service:
    """Creates what a first chat needs; its one-time secrets are shown once and logged nowhere."""

    def command() -> Command:
        url = model_url()
        return manage("seed", "--json", *(["--local-model-url", url] if url else []))()

    return Service(
        name="seed",
        depends_on=("migrations", "valkey"),
        command=command,
        one_shot=True,
        skip=skip,
        consume=seeding.take,
        configure=seeding.finished,
    )


def servers(configuration: Configuration, *, after: str) -> list[Service]:
    """The three long-running processes; they start side by side once ``after`` is done."""
    drain = float(configuration.plain("SA01_DRAIN_SECONDS")) + STOP_MARGIN
    needs = (after, "valkey")
    return [
        Service(
            name="gateway",
            depends_on=needs,
            command=python(
                "-m",
                "gunicorn",
                "-c",
                "somaagent/web/gunicorn.py",
                "somaagent.asgi:application",
                death_signal=signal.SIGQUIT,
            ),
            health=adapters.gateway(),
            start_timeout=START_SECONDS,
            stop_timeout=drain,
            hung_after=GATEWAY_HUNG_SECONDS,
        ),
        Service(
            name="worker",
            depends_on=needs,
            critical=False,
            background=True,
            command=python(
                "-m",
                "celery",
                "--quiet",
                "-A",
                "somaagent.celery",
                "worker",
                "--without-mingle",
                "--without-gossip",
                # Its tasks are short: turns run beside them, and are given back when its processes end.
                stop_signal=signal.SIGTERM,
                death_signal=signal.SIGQUIT,
            ),
            health=adapters.Heartbeat("worker"),
            start_timeout=START_SECONDS,
            stop_timeout=drain,
        ),
        Service(
            name="scheduler",
            depends_on=needs,
            critical=False,
            background=True,
            command=python("-m", "celery", "--quiet", "-A", "somaagent.celery", "beat"),
            health=adapters.Heartbeat("scheduler"),
            start_timeout=START_SECONDS,
            restart=RestartPolicy(limit=10),
        ),
    ]
