"""What ``/mcp`` costs a gateway that nobody asks, and what it says while one is being stopped."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import orjson
import pytest

from somaagent.web import stopping
from somaagent.web.lanes import Gateway
from somaagent.web.lifespan import Lifespan
from tests.stack import PROJECT_ROOT, RunningStack, foreign_environment


@pytest.fixture(autouse=True)
def this_process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_begun", threading.Event())


async def stopped() -> None:
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    for kind in ("startup", "shutdown"):
        messages.put_nowait({"type": f"lifespan.{kind}"})
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    await Lifespan(at_stop=[])({"type": "lifespan"}, messages.get, said.put)


async def asked() -> tuple[int, dict[bytes, bytes], dict[str, Any]]:
    """The answer of ``/mcp`` to a request without a key."""
    body: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    body.put_nowait({"type": "http.request", "body": b"{}", "more_body": False})
    said: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": "POST",
        "path": "/mcp",
        "query_string": b"",
        "headers": [(b"host", b"testserver")],
    }
    await Gateway()(scope, body.get, send)
    return said[0]["status"], dict(said[0]["headers"]), orjson.loads(said[1]["body"])


async def test_a_server_that_stops_says_when_to_come_again():
    status, _, _ = await asked()
    assert status == 401
    await stopped()
    status, headers, facts = await asked()
    assert (status, facts["error"]["data"]) == (503, {"code": "stopping"})
    assert int(headers[b"Retry-After"]) > 0


def test_a_gateway_boots_without_the_sdk(stack: RunningStack):
    code = (
        "import sys, somaagent.asgi, somaagent.urls;"
        "print([name for name in sys.modules if name.partition('.')[0] in ('mcp', 'mcp_types', 'starlette')])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env=foreign_environment() | stack.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines()[-1] == "[]"
