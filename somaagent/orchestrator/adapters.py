"""Health adapters: how each kind of service is asked whether it does its work.

Each opens its own connection, asks one cheap question within about two seconds, and closes it again: what is
tested is what a client would meet. Passwords come from ``django.conf.settings`` at the time of the question.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from somaagent.embedded.addresses import loopback
from somaagent.resilience import keys
from somaagent.resilience.broken import broken

from .registry import HealthAdapter, NotHealthy

TIMEOUT_SECONDS = 2.0
HEARTBEAT_KEY = "soma:heartbeat:{kind}:{where}"
HEARTBEAT_FRESH_SECONDS = 15.0
NAMED_BREAKERS = 10


def get(
    url: str, *, headers: Mapping[str, str] | None = None, ca_file: Path | None = None
) -> tuple[int, bytes]:
    """Status and body of a GET, past any proxy. Raises ``NotHealthy`` when nothing answers."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        connection = http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_SECONDS)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read(65_536)
    except (OSError, http.client.HTTPException) as error:
        raise NotHealthy(f"{url} does not answer: {error}") from error
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Http:
    """A GET that must be answered with 200. ``url`` is asked for at each check: a port may be chosen late."""

    url: Callable[[], str]
    headers: Callable[[], Mapping[str, str]] = field(default=dict)

    def check(self, pid: int | None) -> None:
        url = self.url()
        status, _ = get(url, headers=self.headers())
        if status != http.client.OK:
            raise NotHealthy(f"{url} answers {status}.")


def gateway() -> Http:
    """The gateway's ``/healthz``, addressed as the proxy in front of it would."""

    def url() -> str:
        return f"http://{reachable(settings.GATEWAY_HOST)}:{settings.GATEWAY_PORT}/healthz"

    def headers() -> Mapping[str, str]:
        public = urlsplit(settings.PUBLIC_URL)
        return {"Host": public.netloc, "X-Forwarded-Proto": public.scheme}

    return Http(url, headers)


def reachable(host: str) -> str:
    """Where to find a server that listens on ``host``; on the loopback if it listens everywhere."""
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host  # a name
    return loopback() if everywhere else f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True)
class OpenBao:
    """OpenBao or Vault: initialised, unsealed, active or standby."""

    address: Callable[[], str]
    ca_file: Callable[[], Path | None]

    def check(self, pid: int | None) -> None:
        url = f"{self.address().rstrip('/')}/v1/sys/health?standbyok=true&perfstandbyok=true"
        status, body = get(url, ca_file=self.ca_file())
        if status == http.client.OK:
            return
        try:
            facts: dict[str, Any] = json.loads(body)
        except ValueError:
            facts = {}
        if facts.get("initialized") is False:
            raise NotHealthy("It is not initialised.")
        if facts.get("sealed"):
            raise NotHealthy("It is sealed.")
        raise NotHealthy(f"{url} answers {status}.")


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    """The database, as the role that the application connects as."""

    def check(self, pid: int | None) -> None:
        try:
            with connect_database() as connection:
                connection.execute("SELECT 1")
        except psycopg.Error as error:
            raise NotHealthy(" ".join(str(error).split())) from error


def connect_database() -> psycopg.Connection[tuple[Any, ...]]:
    """A connection of our own to the application's database, with a short patience."""
    facts = settings.DATABASES["default"]
    return psycopg.connect(
        host=facts["HOST"],
        port=facts["PORT"],
        dbname=facts["NAME"],
        user=facts["USER"],
        password=facts["PASSWORD"],
        connect_timeout=int(TIMEOUT_SECONDS),
        application_name="somaagent-health",
        options=f"-c statement_timeout={int(TIMEOUT_SECONDS * 1000)}",
    )


def connect_valkey() -> redis.Redis:
    """A client of our own for Valkey, which does not try twice."""
    facts = settings.VALKEY
    return redis.Redis(
        host=facts["host"],
        port=facts["port"],
        password=facts["password"],
        ssl=facts["tls"],
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


@dataclass(frozen=True, slots=True)
class Valkey:
    """Valkey answers to our password."""

    def check(self, pid: int | None) -> None:
        client = connect_valkey()
        try:
            client.ping()
        except (redis.RedisError, OSError) as error:
            raise NotHealthy(str(error)) from error
        finally:
            client.close()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A worker or scheduler keeps writing the time to a key of its own in Valkey.

    Our own process is looked for by its pid; one that is not ours counts wherever it runs.
    """

    kind: str

    def check(self, pid: int | None) -> None:
        client = connect_valkey()
        try:
            if pid is not None:
                keys = [HEARTBEAT_KEY.format(kind=self.kind, where=f"{socket.gethostname()}:{pid}")]
            else:
                keys = list(client.scan_iter(HEARTBEAT_KEY.format(kind=self.kind, where="*"), count=1000))
            beats = [float(beat) for beat in client.mget(keys) if beat] if keys else []
        except (redis.RedisError, OSError) as error:
            raise NotHealthy(f"Valkey, where its heartbeat is kept, does not answer: {error}") from error
        finally:
            client.close()
        if not beats:
            raise NotHealthy("It has written no heartbeat.")
        age = time.time() - max(beats)
        if age > HEARTBEAT_FRESH_SECONDS:
            raise NotHealthy(f"Its last heartbeat is {age:.0f} s old.")


@dataclass(frozen=True, slots=True)
class Breakers:
    """Every circuit breaker is closed; the answer of one that is not names it, by its id alone."""

    def check(self, pid: int | None) -> None:
        client = connect_valkey()
        try:
            now = f"({time.time() * 1000:.0f}"
            count = int(client.zcount(keys.NOT_CLOSED, now, "+inf"))
            newest: Any = client.zrevrangebyscore(keys.NOT_CLOSED, "+inf", now, start=0, num=NAMED_BREAKERS)
        except (redis.RedisError, OSError) as error:
            raise NotHealthy(f"Valkey, where breakers are kept, does not answer: {error}") from error
        finally:
            client.close()
        if count:
            more = f" and {count - len(newest)} more" if count > len(newest) else ""
            raise NotHealthy(f"Not closed: {', '.join(keys.shown(name) for name in newest)}{more}.")


class Policy:
    """The engine that judges calls of tools answers, and sensibly."""

    def check(self, pid: int | None) -> None:
        from apps.tools.policy import judging  # noqa: PLC0415 - its metrics are for processes with settings
        from apps.tools.policy.failures import PolicyError  # noqa: PLC0415 - see above

        try:
            asyncio.run(judging.probe())
        except PolicyError as error:
            raise NotHealthy(f"{judging.engine_name()}: {error}") from error


@dataclass(frozen=True, slots=True)
class McpServers:
    """Every MCP server that was asked works; the answer of one that does not names it and says why."""

    def check(self, pid: int | None) -> None:
        client = connect_valkey()
        try:
            found, count = broken(client, NAMED_BREAKERS)
        except (redis.RedisError, OSError) as error:
            raise NotHealthy(f"Valkey, where their state is kept, does not answer: {error}") from error
        finally:
            client.close()
        from somaagent.observability import metrics  # noqa: PLC0415 - once its directory is prepared

        metrics.MCP_BROKEN.set(count)
        if count:
            more = f" and {count - len(found)} more" if count > len(found) else ""
            named = ", ".join(f"{keys.shown(each.name)} ({each.code})" for each in found)
            raise NotHealthy(f"Broken: {named}{more}.")


class Events:
    """Domain events are published as they come; the answer of a publisher that is behind says by how much."""

    def check(self, pid: int | None) -> None:
        from somaagent.tenancy.outbox import faults, lag  # noqa: PLC0415 - metrics: once their directory is there

        try:
            with connect_database() as connection:
                row = connection.execute(lag.LAG).fetchone()
        except psycopg.Error as error:
            raise NotHealthy(" ".join(str(error).split())) from error
        behind = lag.lag_of(row or (0, None))
        client = connect_valkey()
        try:
            told = faults.last_fault(client)
        except (redis.RedisError, OSError) as error:
            raise NotHealthy(f"Valkey, where the publisher says how it goes, is away: {error}") from error
        finally:
            client.close()
        # What does not mend by itself is told at once, not when events have waited for long.
        if behind.waiting and (behind.seconds > lag.MOST_SECONDS or (told is not None and told.stays)):
            why = told.message if told is not None else "see outbox.sink_away in the worker's log."
            raise NotHealthy(
                f"{behind.waiting} wait to be published, the oldest for {behind.seconds:.0f} s: {why}"
            )


class SettingsLoaded:
    """Our own settings are read: what needs their secrets may start."""

    def check(self, pid: int | None) -> None:
        if not settings.configured:
            raise NotHealthy("The settings are not read yet.")


class Staged:
    """Asks one adapter until the service is configured and our settings are read, then another one.

    A server that is being set up for the first time has no role or password yet that the second could use.
    """

    def __init__(self, first: HealthAdapter, then: HealthAdapter) -> None:
        self._first = first
        self._then = then
        self._configured = False

    def configured(self) -> None:
        self._configured = True

    def check(self, pid: int | None) -> None:
        adapter = self._then if self._configured and settings.configured else self._first
        adapter.check(pid)
