"""A program that is an MCP server: ``python -m tests.integration.mcp.program HOW``; well, or as HOW says."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from mcp.server.mcpserver import MCPServer

server = MCPServer("program")


@server.tool()
def environment() -> str:
    return "\n".join(f"{name}={value}" for name, value in sorted(os.environ.items()))


@server.tool()
def who() -> str:
    return f"{os.getpid()} {Path.cwd()}"


@server.tool()
def crash() -> str:
    os._exit(3)


@server.tool()
def shout(lines: int) -> str:
    for _ in range(lines):
        os.write(_out, b'{"jsonrpc": "2.0", "method": "notifications/message", "params": {}}\n')
    time.sleep(5)
    return "hoarse"


@server.tool()
def long_line(size: int) -> str:
    os.write(_out, b"x" * size)
    return "out of breath"


if __name__ == "__main__":
    how = sys.argv[1]
    _out = os.dup(1)  # the SDK keeps the first one for itself
    sys.stderr.write("the program begins\n")
    if how == "ends":
        sys.exit(1)
    if how == "hangs":
        time.sleep(600)
    if how == "deaf":
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server.run("stdio")
    if how == "deaf":
        time.sleep(600)
