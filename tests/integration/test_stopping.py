"""A server that is being stopped sends those elsewhere who want something that lasts."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import orjson
import pytest

from somaagent.web import stopping
from somaagent.web.lanes import Gateway
from somaagent.web.lifespan import Lifespan


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
