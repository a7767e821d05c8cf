"""An MCP server whose tools have an effect that can be counted: what must happen once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from mcp import types
from mcp.server.mcpserver import MCPServer

from somaagent.embedded.addresses import loopback
from tests.journeys.gateway import free_port

# The effect comes first, the answer so long after it: who is killed in between has done it and does not know.
ANSWERS_AFTER = 0.7
_LONGEST_SECONDS = 60.0


@dataclass
class Ledger:
    """Where it is, how often each entry was asked for, and how often it was made.

    Nobody is answered while ``answers`` is not set.
    """

    url: str
    asked: Counter[str] = field(default_factory=Counter)
    entries: Counter[str] = field(default_factory=Counter)
    answers: threading.Event = field(default_factory=threading.Event)

    @property
    def repeated(self) -> int:
        return sum(count - 1 for count in self.entries.values())


@contextmanager
def keeping() -> Iterator[Ledger]:
    port = free_port()
    ledger = Ledger(f"http://{loopback()}:{port}/mcp")
    ledger.answers.set()
    running = MCPServer("ledger", log_level="ERROR")

    @running.tool(description="Makes an entry.")
    async def enter(entry: str) -> str:
        ledger.asked[entry] += 1
        ledger.entries[entry] += 1
        return await answered(entry)

    @running.tool(
        description="Makes an entry, unless it is there.",
        annotations=types.ToolAnnotations(idempotent_hint=True),
    )
    async def enter_once(entry: str) -> str:
        ledger.asked[entry] += 1
        ledger.entries[entry] = 1
        return await answered(entry)

    async def answered(entry: str) -> str:
        await asyncio.sleep(ANSWERS_AFTER)
        await asyncio.to_thread(ledger.answers.wait, _LONGEST_SECONDS)
        return f"entered {entry}"

    app = running.streamable_http_app(host=loopback(), stateless_http=True)
    server = uvicorn.Server(uvicorn.Config(app, host=loopback(), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield ledger
    finally:
        server.should_exit = True
        thread.join(10)
