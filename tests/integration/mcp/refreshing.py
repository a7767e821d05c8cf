"""Another process that wants a token: ``python -m tests.integration.mcp.refreshing TENANT SERVER``.

It waits for a line on standard input, so that all begin at once, and prints the token that it got.
"""

from __future__ import annotations

import asyncio
import sys
from ipaddress import ip_network
from uuid import UUID

import django

django.setup()

from django.conf import settings  # noqa: E402 - after the settings

from apps.tools.mcp.oauth import Tokens  # noqa: E402 - as above
from apps.tools.mcp.servers import servers_of  # noqa: E402 - as above
from somaagent.embedded.addresses import loopback  # noqa: E402 - as above


async def main(tenant: str, server: str) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = [ip_network(f"{loopback()}/8", strict=False)]
    (found,) = [each for each in await servers_of(UUID(tenant)) if each.id == server]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(f"token {(await Tokens(found).current()).text}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
