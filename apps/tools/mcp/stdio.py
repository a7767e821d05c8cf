"""The transport to a server that is a program of the operator's: its standard input and output.

Not the SDK's own, which keeps lines of any length, goes on with a program that never stops talking, and
leaves it behind where its starter is killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from django.conf import settings
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCError, JSONRPCRequest, JSONRPCResponse, jsonrpc_message_adapter

import somaagent
from somaagent.errors import SomaError

from . import failures, keys
from .http import MOST_BYTES, Witness
from .servers import Server

# Between two of our messages: what a program may say that is no answer, and how much in all.
MOST_UNASKED = 1_000
STOP_SECONDS = 2.0
_LOGGED_LINES = 20
_LOGGED_CHARACTERS = 500
# Becomes the program, which then ends with this process, even if this one is killed.
_LAUNCHER = Path(somaagent.__file__).parent / "embedded" / "launcher.py"

logger = structlog.get_logger(__name__)

Incoming = MemoryObjectSendStream[SessionMessage | Exception]


@asynccontextmanager
async def connected(server: Server, witness: Witness) -> AsyncIterator[Any]:
    """The pair of streams that the SDK's session reads and writes."""
    process = await _started(server)
    incoming, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    program = _Program(server.slug, process, witness)
    try:
        async with incoming, read, write, outgoing, anyio.create_task_group() as tasks:
            tasks.start_soon(program.read, incoming)
            tasks.start_soon(program.write, outgoing)
            tasks.start_soon(program.read_errors)
            try:
                yield read, write
            finally:
                program.closing = True
                tasks.cancel_scope.cancel()
    finally:
        await asyncio.shield(_stopped(process))


class _Program:
    def __init__(self, slug: str, process: asyncio.subprocess.Process, witness: Witness) -> None:
        self._slug, self._process, self._witness = slug, process, witness
        self._unasked = self._bytes = 0
        self.closing = False

    async def read(self, incoming: Incoming) -> None:
        stdout = self._process.stdout
        if stdout is None:
            raise ValueError("The program has no output.")
        while line := await self._line(stdout):
            self._bytes += len(line)
            try:
                message = jsonrpc_message_adapter.validate_json(line, by_name=False)
            except ValueError:
                self._unasked += 1  # a program that logs to the wrong place is borne for a while
            else:
                self._unasked += not isinstance(message, JSONRPCResponse | JSONRPCError)
                await incoming.send(SessionMessage(message))
            if self._unasked > MOST_UNASKED or self._bytes > MOST_BYTES:
                raise self._failed("mcp_flood", "says too much that nobody asked for")
        if not self.closing:
            raise self._failed("mcp_ended", "has ended")

    async def _line(self, stdout: asyncio.StreamReader) -> bytes:
        try:
            return await stdout.readline()
        except ValueError as error:
            raise self._failed("mcp_flood", f"wrote a line of more than {MOST_BYTES} bytes") from error

    async def write(self, outgoing: MemoryObjectReceiveStream[SessionMessage]) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise ValueError("The program has no input.")
        async for each in outgoing:
            if isinstance(each.message, JSONRPCRequest):
                self._unasked = self._bytes = 0
            try:
                stdin.write(each.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                await stdin.drain()
            except OSError as error:
                raise self._failed("mcp_ended", "has closed its input") from error

    async def read_errors(self) -> None:
        """Its beginning is logged; the rest is read, so that it does not wait for us, and forgotten."""
        stderr = self._process.stderr
        if stderr is None:
            raise ValueError("The program has no output of errors.")
        text = b""
        while part := await stderr.read(65_536):
            if len(text) < _LOGGED_LINES * _LOGGED_CHARACTERS:
                text += part
                logger.info("mcp.program_says", server=self._slug, text=_excerpt(part))

    def _failed(self, code: str, what: str) -> SomaError:
        self._witness.failure = failures.failed(code, f"The program of the MCP server {self._slug} {what}.")
        return self._witness.failure


def _excerpt(part: bytes) -> str:
    lines = part.decode(errors="replace").splitlines()[:_LOGGED_LINES]
    return "\n".join(line[:_LOGGED_CHARACTERS] for line in lines)


async def _started(server: Server) -> asyncio.subprocess.Process:
    declared = server.program
    environment = await asyncio.to_thread(_environment, server)
    command = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(int(signal.SIGKILL)), "0"]
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            *declared.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MOST_BYTES,
            env=environment,
            cwd=environment["HOME"] if declared.cwd is None else declared.cwd,
            start_new_session=True,
        )
    except OSError as error:
        message = f"The program of the MCP server {server.slug} cannot be started ({error.strerror})."
        raise failures.failed("mcp_program_missing", message) from error


def _environment(server: Server) -> dict[str, str]:
    """All of it: nothing of ours goes in. Its home is a folder of its own."""
    declared = server.program
    home = Path(settings.DATA_DIR) / "mcp" / declared.slug
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    given = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8", "TZ": "UTC"}
    try:
        secrets = {name: keys.named(path) for name, path in declared.secrets.items()}
    except settings.SECRETS.Error as error:
        logger.warning("mcp.secret_unreadable", server=server.slug, reason=str(error))
        message = f"A secret of the MCP server {server.slug} cannot be read from Vault."
        raise failures.failed("mcp_secret_missing", message) from error
    whole: dict[str, str] = given | declared.env | secrets
    return whole


async def _stopped(process: asyncio.subprocess.Process) -> None:
    """Asks it to end by closing its input, then ends it and all that it started (Transports, stdio)."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        logger.info("mcp.program_killed", pid=process.pid)
    with suppress(ProcessLookupError):  # nobody of its group is left
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
