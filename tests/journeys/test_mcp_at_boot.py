"""Ten MCP servers are configured, three are broken in different ways, and nobody who boots notices."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import requests

from tests.client import Client
from tests.journeys.gateway import Gateway
from tests.journeys.house import House, calls, house, lists_known
from tests.mcp_boot import BROKEN, CONNECT_SECONDS, SOME_BROKEN, Booted, booted, servers
from tests.mcp_town import Town

PATIENCE_SECONDS = 60.0


@pytest.fixture
def town() -> Iterator[tuple[Town, Mapping[str, str]]]:
    with servers() as built:
        yield built


@pytest.fixture
def home(gateway: Gateway) -> House:
    gateway.model.reset()
    return house(gateway)


@pytest.fixture
def ids(gateway: Gateway, home: House, town) -> dict[str, str]:
    """Of the rows of the ten, by slug."""
    found: dict[str, str] = gateway.in_database(lambda: rows(home, town[1]))
    return found


def rows(home: House, urls: Mapping[str, str]) -> dict[str, str]:
    from apps.sessions.models import Agent  # noqa: PLC0415 - Django is not configured before
    from apps.tools.mcp.models import McpServer  # noqa: PLC0415 - as above
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    with tenant_scope(home.tenant_id):
        Agent.objects.update(tools=["*__echo"])
        made = [
            McpServer.objects.create(
                tenant_id=home.tenant_id,
                slug=slug,
                name=slug,
                url=urls[slug],
                connect_seconds=CONNECT_SECONDS,
                needs_approval=False,
            )
            for slug in SOME_BROKEN
        ]
    return {row.slug: str(row.id) for row in made}


@pytest.fixture
def running(stack, ids, tmp_path) -> Iterator[Booted]:
    """A gateway and a worker that booted when the ten were configured."""
    with booted(stack, tmp_path) as one:
        yield one


def test_a_boot_asks_no_server_and_a_turn_has_the_tools_of_those_that_work(gateway, running, town, ids, home):
    assert len(ids) == 10
    built, _ = town
    service = health(running)["mcp_servers"]
    assert not any(row_id in str(service) for row_id in ids.values())
    assert built.connections == 0, "neither the boot nor the health asks any of them"

    client = Client(running.url, home.member.api_key)
    know_tools(client, gateway, home)
    turn = client.finished(client.submit(calls(("well-1__echo", {"text": "hello"})))["id"])
    assert (turn["state"], turn["output"]) == ("completed", "well-1: hello")
    assert set(built.asked) == set(SOME_BROKEN) - {"refuses"}

    named = {slug: f"mcp {ids[slug]} ({code})" for slug, code in BROKEN.items()}

    # The gateway tells what was last looked at, and looks again when a moment is over.
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_down(service := health(running)["mcp_servers"], named.values()):
        assert time.monotonic() < until, service
        time.sleep(0.1)
    assert not any(ids[slug] in service["last_error"] for slug in SOME_BROKEN if slug not in BROKEN)
    assert health(running)["gateway"]["state"] == health(running)["worker"]["state"] == "up"


def know_tools(client: Client, gateway: Gateway, home: House) -> None:
    """On a machine that is busy a first turn goes without the tools of a server that nobody has asked yet."""
    client.finished(client.submit("say: Good morning.")["id"])
    well = len(SOME_BROKEN) - len(BROKEN)
    until = time.monotonic() + PATIENCE_SECONDS
    while gateway.in_database(lambda: lists_known(home)) < well:
        assert time.monotonic() < until
        time.sleep(0.1)


def is_down(service: Mapping[str, Any], named: Iterable[str]) -> bool:
    return service["state"] == "down" and all(words in (service["last_error"] or "") for words in named)


def health(running: Booted) -> dict[str, Any]:
    """The services, as the gateway tells anybody who asks."""
    services: dict[str, Any] = requests.get(f"{running.url}/api/v1/health", timeout=60).json()["services"]
    return services
