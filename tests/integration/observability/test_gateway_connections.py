"""Stories of connections that stay open, and of the workers that share them."""

from __future__ import annotations

import http.client
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from somaagent.embedded.addresses import loopback
from tests.integration.observability.processes import Process, eventually
from tests.integration.observability.test_gateway_server import Address, free_port, serving


@pytest.fixture
def address() -> Address:
    return loopback(), free_port()


@pytest.fixture
def server(address: Address, tmp_path: Path) -> Iterator[Process]:
    with serving(address, tmp_path, drain=1) as process:
        yield process


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    """Those who keep their connections open."""
    with ExitStack() as connections:
        yield connections


def come(clients: ExitStack, address: Address) -> int:
    """Somebody connects, asks, and stays. The process that answers."""
    connection = clients.enter_context(closing(http.client.HTTPConnection(*address, timeout=60)))
    connection.request("POST", "/", body=b"hello")
    answer = connection.getresponse()
    answer.read()
    return int(answer.headers["X-Process"])


def test_those_who_stay_are_shared_out_evenly(server: Process, address: Address, clients: ExitStack):
    answered = Counter(come(clients, address) for _ in range(40))
    assert len(answered) == 2
    assert max(answered.values()) <= 24


def test_when_one_worker_has_lost_its_clients_the_next_ones_are_its(
    server: Process, address: Address, clients: ExitStack
):
    with ExitStack() as leaving:
        stayed = Counter[int]()
        while len(stayed) < 2:
            stayed[come(leaving, address)] += 1
    # Whoever it is that is asked first, the other one has fewer from then on.
    first = come(clients, address)
    others = Counter(come(clients, address) for _ in range(9))
    assert 3 <= others[first] <= 6


def test_what_a_worker_that_hangs_does_not_take_another_takes(
    server: Process, address: Address, clients: ExitStack
):
    busy = come(clients, address)
    hanging = next(worker for worker in _workers(server) if worker != busy)
    os.kill(hanging, signal.SIGSTOP)
    try:
        assert {come(clients, address) for _ in range(5)} == {busy}
    finally:
        os.kill(hanging, signal.SIGCONT)


def test_a_worker_that_takes_another_s_place_takes_its_share(
    server: Process, address: Address, clients: ExitStack
):
    gone, stays = _workers(server)
    os.kill(gone, signal.SIGKILL)
    eventually(lambda: len(_workers(server)) == 3)
    answered = Counter(come(clients, address) for _ in range(20))
    assert gone not in answered
    assert 6 <= answered[stays] <= 14


def _workers(server: Process) -> list[int]:
    return [line["pid"] for line in server.lines() if "ASGI server listening" in line["event"]]
