"""Stories of the gateway's HTTP server: our gunicorn configuration with a small application."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from somaagent.embedded.addresses import loopback
from tests.integration.observability.processes import Process, eventually, running
from tests.websocket import connected

GUNICORN = ["-m", "gunicorn", "-c", "somaagent/web/gunicorn.py"]
APPLICATION = "tests.integration.observability.plain_application:application"
Address = tuple[str, int]


def free_port() -> int:
    with closing(socket.create_server((loopback(), 0))) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def address() -> Address:
    """Where ``server`` is."""
    return loopback(), free_port()


@pytest.fixture
def own_address() -> Address:
    """For a server that the story ends."""
    return loopback(), free_port()


@contextmanager
def serving(
    address: Address, folder: Path, drain: int, until: str = "ASGI server listening"
) -> Iterator[Process]:
    environment = {
        "SA01_GATEWAY_HOST": address[0],
        "SA01_GATEWAY_PORT": str(address[1]),
        "SA01_GATEWAY_WORKERS": "2",
        "SA01_DRAIN_SECONDS": str(drain),
        "PROMETHEUS_MULTIPROC_DIR": str(folder),
    }
    with running([*GUNICORN, APPLICATION], folder / "gateway.log", **environment) as process:
        eventually(lambda: process.text().count(until) == 2)
        yield process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of ``server``: its log and its metrics."""
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def server(address: Address, folder: Path) -> Iterator[Process]:
    """One for all stories that let it live."""
    with serving(address, folder, drain=2) as process:
        yield process


def say(address: Address, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Sends bytes as they are and reads the answer to its end."""
    with closing(socket.create_connection(address, timeout=60)) as connection:
        # It may have read enough and stopped reading; the answer is there all the same.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()


def test_requests_that_cannot_be_read_get_a_problem_that_names_the_place(server: Process, address: Address):
    get = b"GET / HTTP/1.1\r\nHost: here\r\n"
    stories = [
        (get + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431, "headers"),
        (get + b"X: " + b"a" * 2_000_000 + b"\r\n\r\n", 431, "headers"),
        (get + b"".join(b"X%d: a\r\n" % number for number in range(200)) + b"\r\n", 431, "headers"),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: here\r\n\r\n", 414, "path"),
        (b"\x00\x01 nonsense\r\n\r\n", 400, "request"),
        (get + b"X: a\x00b\r\n\r\n", 400, "request"),
        (get + b"no colon\r\n\r\n", 400, "request"),
        (b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: -1\r\n\r\n", 400, "request"),
        (get + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "request"),
    ]
    for request, status, place in stories:
        answered, headers, body = say(address, request)
        told = json.loads(body)
        assert (answered, told["status"], told["errors"][0]["field"]) == (status, status, place)
        assert headers["content-type"] == "application/problem+json"
        assert headers["x-request-id"] == told["request_id"]
    assert server.said("event", "request.unreadable")
    assert all("timestamp" in line for line in server.lines())


def test_large_bodies_and_websockets_come_through(server: Process, address: Address):
    connection = http.client.HTTPConnection(*address, timeout=20)
    connection.request("POST", "/", body=b"x" * 10_000_000)
    assert connection.getresponse().read() == b"10000000"
    connection.request("POST", "/", body=iter([b"x" * 65_536] * 16), encode_chunked=True)
    assert connection.getresponse().read() == b"1048576"
    with connected(f"http://{address[0]}:{address[1]}/") as websocket:
        websocket.send("Grüezi" * 1000)
        assert websocket.recv() == "Grüezi" * 1000


def test_the_application_hears_at_once_that_a_client_left(server: Process, address: Address):
    with closing(socket.create_connection(address, timeout=60)) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: here\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    eventually(lambda: server.said("story", "client left"), seconds=5)


def test_the_server_says_by_itself_that_a_client_left_and_to_who_asks_afterwards_too(
    server: Process, address: Address
):
    with closing(socket.create_connection(address, timeout=60)) as connection:
        connection.sendall(b"GET /left HTTP/1.1\r\nHost: here\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    eventually(lambda: server.said("story", "told afterwards"), seconds=5)
    assert server.said("story", "told as it left")
    assert not server.said("story", "forgotten, and told")


def test_a_stop_lets_a_stream_go_on_for_the_drain_while_the_application_does_its_last_work(
    own_address: Address, tmp_path: Path
):
    with (
        serving(own_address, tmp_path, drain=2) as server,
        closing(socket.create_connection(own_address, timeout=60)) as connection,
    ):
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: here\r\n\r\n")
        connection.recv(1000)
        took = server.stop(signal.SIGTERM)
    assert 2 <= took < 7
    assert server.process.returncode == 0
    stories = [line["story"] for line in server.lines() if "story" in line]
    assert stories.count("last work done") == 2
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(own_address, timeout=1)


def test_a_quick_stop_waits_for_no_stream(own_address: Address, tmp_path: Path):
    with (
        serving(own_address, tmp_path, drain=25) as server,
        closing(socket.create_connection(own_address, timeout=60)) as connection,
    ):
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: here\r\n\r\n")
        connection.recv(1000)
        assert server.stop(signal.SIGQUIT) < 10


def test_a_stop_while_the_workers_boot_is_heard(own_address: Address, tmp_path: Path):
    with serving(own_address, tmp_path, drain=25, until="Booting worker") as server:
        assert server.stop(signal.SIGTERM) < 20
        assert "was sent SIGKILL" not in server.text()


def test_the_vault_tokens_of_the_workers_are_among_the_metrics(server: Process, folder: Path):
    wanted = re.compile(r'^soma_vault_token_seconds_left\{service="gateway"\} (\S+)', re.MULTILINE)
    show = "from somaagent.observability import metrics; print(metrics.render()[0].decode())"
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}

    def seconds_left() -> float:
        done = subprocess.run(
            [sys.executable, "-c", show], env=environment, capture_output=True, text=True, check=True
        )
        found = wanted.search(done.stdout)
        return float(found[1]) if found else 0.0

    assert eventually(seconds_left) > 60


def test_a_worker_that_is_killed_is_replaced(server: Process, address: Address):
    victim = next(line["pid"] for line in server.lines() if "ASGI server listening" in line["event"])
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: server.text().count("ASGI server listening") == 3)
    assert say(address, b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")[0] == 200
