"""A gateway that runs: gunicorn with our application, on the tests' stack, in front of a scripted model."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import requests

from somaagent.embedded.addresses import loopback
from tests import collector as collectors
from tests import model_server
from tests.collector import Collector
from tests.journeys.front import front
from tests.stack import PROJECT_ROOT, RunningStack, foreign_environment

# Calls a function that uses the ORM, where that is allowed, and gives what it gave.
InDatabase = Callable[[Callable[[], Any]], Any]

LOG = "gateway.log"
_READY_SECONDS = 180.0
HOUSE_RULE = """package somaagent.tools

concerns contains "In this house the time is told to nobody unasked." if input.tool.name == "current_time"
"""
FIRST = UUID("00000000-0000-7000-8000-000000000001")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Person:
    """Somebody who can sign in: a name, a password, an API key, and whether the password is one-time."""

    name: str
    password: str
    api_key: str


@dataclass(frozen=True)
class Model:
    """The scripted model server, from outside its process."""

    url: str

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def script(self, *steps: str) -> None:
        """What the next requests get, whatever their messages say (see ``tests.model_server``)."""
        self._post("/_script", steps)

    def reset(self) -> None:
        self._post("/_reset", None)

    def requests(self) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.url}/_requests", timeout=60)
        return list(answer.json()["requests"])

    def _post(self, path: str, body: Any) -> None:
        requests.post(f"{self.url}{path}", json=body, timeout=60).raise_for_status()


@dataclass(frozen=True)
class Gateway:
    """Its address without a slash at the end, the model behind it, and people to be.

    ``operator`` owns the tenant, may use the admin, and has a password of their own.
    """

    url: str
    model: Model
    operator: Person
    log: Path
    in_database: InDatabase
    collector: Collector

    def newcomer(self, *, staff: bool = False, one_time: bool = True, member: bool = True) -> Person:
        """Another member of the operator's tenant, without any session yet."""
        name = f"person-{next(_numbers)}"
        person: Person = self.in_database(
            lambda: _person(name, staff=staff, one_time=one_time, member=member)
        )
        return person


@contextlib.contextmanager
def running_gateway(stack: RunningStack, folder: Path, in_database: InDatabase) -> Iterator[Gateway]:
    """Start the model and the gateway, make the first tenant with its agent, and stop both at the end."""
    with model_server.process() as model_url, collectors.running() as collector:
        model = Model(model_url)
        operator = in_database(lambda: _first_rows(model))
        with _reachable(stack, folder, collector.url, {}) as url:
            yield Gateway(url, model, operator, folder / LOG, in_database, collector)


@contextlib.contextmanager
def another_gateway(
    beside: Gateway,
    stack: RunningStack,
    folder: Path,
    *,
    port: int | None = None,
    settings: dict[str, str] | None = None,
) -> Iterator[str]:
    """One more gateway on the same stack, as short-lived, with more settings than usual; gives its address
    without a slash at the end.
    """
    with _reachable(stack, folder, beside.collector.url, settings or {}, port=port or 0) as url:
        yield url


def public_url(stack: RunningStack, port: int) -> str:
    """Of a gateway that people reach at this port."""
    return f"{'https' if stack.public_certificate else 'http'}://{loopback()}:{port}"


@contextlib.contextmanager
def _reachable(
    stack: RunningStack, folder: Path, collector_url: str, settings: dict[str, str], *, port: int = 0
) -> Iterator[str]:
    """A gateway at its public address: its own, or that of a proxy that ends TLS before it."""
    if stack.public_certificate is None:
        own = port or free_port()
        url = public_url(stack, own)
        with _gunicorn(stack, own, url, folder, collector_url, settings):
            yield url
        return
    with front(stack.public_certificate, port=port) as proxy:
        proxy.ports.append(free_port())
        with _gunicorn(stack, proxy.ports[0], proxy.url, folder, collector_url, settings):
            yield proxy.url


@contextlib.contextmanager
def running_worker(stack: RunningStack, folder: Path) -> Iterator[None]:
    """A worker on the stack: what it is sent before it is ready waits for it."""
    command = ["-m", "celery", "--quiet", "-A", "somaagent.celery", "worker", "--without-mingle"]
    with (folder / "worker.log").open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, *command, "--without-gossip", "--concurrency=1"],
            cwd=PROJECT_ROOT,
            env=foreign_environment() | stack.environment | {"SA01_WORKER_CONCURRENCY": "1"},
            stdout=output,
            stderr=output,
        )
    try:
        yield
    finally:
        _stop(worker)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.create_server((loopback(), 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def _gunicorn(
    stack: RunningStack,
    port: int,
    public_url: str,
    folder: Path,
    collector_url: str,
    settings: dict[str, str],
) -> Iterator[None]:
    ours = (
        stack.environment
        | {
            "SA01_GATEWAY_HOST": loopback(),
            "SA01_GATEWAY_PORT": str(port),
            "SA01_GATEWAY_WORKERS": "1",
            "SA01_PUBLIC_URL": public_url,
            "SA01_DRAIN_SECONDS": "1",
            "SA01_OTLP_ENDPOINT": collector_url,
            "SA01_POLICY_DIR": str(_policy(folder)),
            "OTEL_BSP_SCHEDULE_DELAY": "200",  # milliseconds until spans are sent; five seconds otherwise
        }
        | settings
    )
    command = ["-m", "gunicorn", "-c", "somaagent/web/gunicorn.py", "somaagent.asgi:application"]
    log = folder / LOG
    with log.open("wb") as output:
        gateway = subprocess.Popen(
            [sys.executable, *command],
            cwd=PROJECT_ROOT,
            env=foreign_environment() | ours,
            stdout=output,
            stderr=output,
        )
    try:
        _wait_for(f"http://{loopback()}:{port}/healthz", gateway, log)
        yield
    finally:
        _stop(gateway)


def _policy(folder: Path) -> Path:
    """Our policy, and a rule of this house: nobody is told the time unless somebody agrees."""
    policy = folder / "policy"
    shutil.copytree(PROJECT_ROOT / "policy", policy)
    (policy / "house.rego").write_text(HOUSE_RULE)
    return policy


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS
    while True:
        try:
            requests.get(url, timeout=2).raise_for_status()
        except requests.RequestException as error:
            if process.poll() is not None or time.monotonic() > until:
                said = log.read_text(errors="replace")[-4000:]
                raise RuntimeError(f"The gateway does not start: {error}\n{said}") from error
            time.sleep(0.1)
        else:
            return


def _first_rows(model: Model) -> Person:
    """A tenant, its operator, and an agent whose model is the scripted one. Needs Django."""
    from apps.admin.services import FIRST_TENANT, platform_seed  # noqa: PLC0415 - Django is not configured before
    from apps.sessions import services as sessions  # noqa: PLC0415 - as above
    from somaagent.tenancy.models import Tenant  # noqa: PLC0415 - as above
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    # The platform's first, whichever tenants other stories left before.
    Tenant.objects.get_or_create(id=FIRST, defaults={"slug": FIRST_TENANT, "name": "My organisation"})
    platform_seed(local_model_url=None)
    tenant = Tenant.objects.get(id=FIRST)
    with tenant_scope(tenant.id):
        profile = sessions.model_profile_ensure(
            tenant_id=tenant.id,
            slug="scripted",
            name="Scripted",
            base_url=model.base_url,
            model="scripted",
            max_retries=0,
            breaker_failures=0,  # journeys share it, and many of them make it fail
        )
        sessions.agent_ensure(
            tenant_id=tenant.id, slug="assistant", name="Assistant", instructions="", model_profile=profile
        )
    return _person("ada", staff=True, one_time=False)


def _person(name: str, *, staff: bool, one_time: bool, member: bool = True) -> Person:
    from somaagent.tenancy import services as tenancy  # noqa: PLC0415 - Django is not configured before
    from somaagent.tenancy.models import Role, Tenant  # noqa: PLC0415 - as above

    password = tenancy.one_time_password()
    user = tenancy.user_create(username=name, password=password, is_staff=staff, one_time=one_time)
    tenant = Tenant.objects.order_by("id")[0]
    if member:
        tenancy.membership_create(tenant=tenant, user=user, role=Role.OWNER if staff else Role.MEMBER)
    _, key = tenancy.api_key_create(tenant_id=tenant.id, user_id=user.id, name="journey")
    return Person(name, password, key)
