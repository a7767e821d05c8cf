"""An MCP server whose one tool has an effect that can be counted: what must happen once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from mcp.server.mcpserver import MCPServer

from somaagent.embedded.addresses import loopback
from tests.journeys.gateway import free_port

# The effect comes first, the answer so long after it: who is killed in between has done it and does not know.
ANSWERS_AFTER = 0.7


@dataclass
class Ledger:
    """Where it is, and how often each entry was made."""

    url: str
    entries: Counter[str] = field(default_factory=Counter)

    @property
    def repeated(self) -> int:
        return sum(count - 1 for count in self.entries.values())


@contextmanager
def keeping() -> Iterator[Ledger]:
    port = free_port()
    ledger = Ledger(f"http://{loopback()}:{port}/mcp")
    running = MCPServer("ledger", log_level="ERROR")

    @running.tool(description="Makes an entry.")
    async def enter(entry: str) -> str:
        ledger.entries[entry] += 1
        await asyncio.sleep(ANSWERS_AFTER)
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
