"""The official client of the Model Context Protocol, as programs use it: an address and a key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

T = TypeVar("T")

# The two ways of the protocol: since 2026-07-28 each request stands alone, before it began with a handshake.
MODERN, HANDSHAKE = "auto", "legacy"
Program = Callable[[Client], Awaitable[T]]


@asynccontextmanager
async def connected(url: str, key: str, mode: str, **headers: str) -> AsyncIterator[Client]:
    """A client that has greeted the server."""
    sent = {
        "Authorization": f"Bearer {key}",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    async with (
        httpx2.AsyncClient(headers=sent, timeout=60) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode, cache=None) as client,
    ):
        yield client


def run(program: Program[T], url: str, key: str, mode: str, **headers: str) -> T:
    """What the program comes to, in an event loop of its own."""

    async def running() -> T:
        async with connected(url, key, mode, **headers) as client:
            return await program(client)

    return asyncio.run(running())


async def all_tools(client: Client) -> dict[str, Any]:
    """Every tool, page by page."""
    tools: dict[str, Any] = {}
    cursor = None
    while True:
        page = await client.list_tools(cursor=cursor)
        assert not tools.keys() & {tool.name for tool in page.tools}
        tools |= {tool.name: tool for tool in page.tools}
        if (cursor := page.next_cursor) is None:
            return tools
