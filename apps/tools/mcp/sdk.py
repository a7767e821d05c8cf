"""A session with an MCP server, as far as tools need one. Only this and the transports know the SDK.

Importing it costs a second or two: ``sessions`` does, in a thread, when a server is first asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mcp import Client, types
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter, ValidationError

from somaagent.errors import SomaError

from . import failures, http, stdio
from .http import Witness
from .results import Result, told
from .servers import Server
from .texts import bounded

_CALLED: TypeAdapter[Any] = TypeAdapter(types.CallToolResult | types.InputRequiredResult)
_TERMINATED = "Session terminated"
_GONE = "mcp_session_gone"


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a server's tools, as it tells them."""

    tools: list[dict[str, Any]]
    next: str | None


class Session:
    """Requests to one server. Whoever makes them sets the time that they may take."""

    def __init__(self, server: Server, client: Client, witness: Witness) -> None:
        self._server, self._client, self._witness = server, client, witness

    async def page(self, cursor: str | None) -> Page:
        params = types.PaginatedRequestParams(cursor=cursor)
        # Not ``send_request``: a session of the newest protocol learns here which arguments go into headers.
        with _Said(self._server.slug, self._witness):
            found = await self._client.session.list_tools(params=params)
            tools = [tool.model_dump(by_alias=True, mode="json", exclude_none=True) for tool in found.tools]
            return Page(tools, found.next_cursor)
        raise AssertionError("what was raised is raised")

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Result:
        """Runs one tool. ``mcp_session_gone``: the server no longer knew this session, and ran nothing.

        The SDK's ``call_tool`` is not used: it holds results to the server's own schemas, whose patterns may
        take for ever.
        """
        params = types.CallToolRequestParams(name=name, arguments=dict(arguments))
        with _Said(self._server.slug, self._witness, call=True):
            try:
                found = await self._send(params)
            except MCPError as error:
                if error.code != types.HEADER_MISMATCH:
                    raise
                # Its list says which arguments go into headers, and it has changed: nothing has run yet.
                await self._client.session.list_tools()
                found = await self._send(params)
            if isinstance(found, types.InputRequiredResult):
                message = (
                    f"The tool of {self._server.slug} asks its user something, which is not possible here."
                )
                raise failures.failed("mcp_asks_back", message)
            return told(found)
        raise AssertionError("what was raised is raised")

    async def _send(self, params: types.CallToolRequestParams) -> Any:
        return await self._client.session.send_request(
            types.CallToolRequest(params=params),
            _CALLED,
            request_read_timeout_seconds=self._server.call_seconds + 1,
        )


@asynccontextmanager
async def opened(server: Server) -> AsyncIterator[Session]:
    """Connects and greets. Enter and leave it in the same task. Raises the failures of ``failures``."""
    witness = Witness(server.slug)
    transport = (
        http.connected(server, server.access, witness) if server.access else stdio.connected(server, witness)
    )
    try:
        client = Client(
            transport,
            mode="auto",
            cache=None,
            read_timeout_seconds=server.connect_seconds,
            client_info=types.Implementation(name="SomaAgent", version="1"),
        )
        async with client:
            yield Session(server, client, witness)
    except (ValidationError, MCPError, OSError) as error:
        raise _meant(server.slug, error, witness, call=False) from error
    except BaseExceptionGroup as group:
        raise _of_group(server.slug, group, witness) from group


class _Said:
    """Turns what the SDK raises for an answer into our own failures."""

    def __init__(self, slug: str, witness: Witness, *, call: bool = False) -> None:
        self._slug, self._witness, self._call = slug, witness, call

    def __enter__(self) -> None:
        self._witness.status = None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, MCPError | ValidationError | OSError):
            raise _meant(self._slug, error, self._witness, call=self._call) from error


def _meant(slug: str, error: Exception, witness: Witness, *, call: bool) -> SomaError:
    if isinstance(error, MCPError) and error.message == _TERMINATED:
        return failures.failed(_GONE, f"The MCP server {slug} has forgotten the session.")
    if (known := witness.reason()) is not None:
        return known
    if isinstance(error, MCPError):
        return _refused(slug, error, call=call)
    if isinstance(error, OSError):
        return failures.failed("mcp_unreachable", f"The MCP server {slug} cannot be reached.")
    return failures.failed("mcp_garbled", f"The MCP server {slug} answers in a way that makes no sense.")


def _refused(slug: str, error: MCPError, *, call: bool) -> SomaError:
    codes = {
        types.REQUEST_TIMEOUT: failures.failed(
            "mcp_timeout", f"The MCP server {slug} did not answer in its time."
        ),
        types.CONNECTION_CLOSED: failures.failed("mcp_ended", f"The MCP server {slug} hung up."),
        types.PARSE_ERROR: failures.failed(
            "mcp_garbled", f"The MCP server {slug} answers in a way that makes no sense."
        ),
    }
    if error.code in codes:
        return codes[error.code]
    if call and error.code != types.METHOD_NOT_FOUND:
        return failures.failed(
            "mcp_refused_call", f"The MCP server {slug} refused the call: {bounded(error.message)}"
        )
    return failures.failed("mcp_failed", f"The MCP server {slug} refuses to talk (code {error.code}).")


def _of_group(slug: str, group: BaseExceptionGroup[Any], witness: Witness) -> BaseException:
    """The one that says most of those that came together."""
    leaves = list(_leaves(group))
    for leaf in leaves:
        if isinstance(leaf, SomaError):
            return failures.of_host(slug, leaf)
    for leaf in leaves:
        if isinstance(leaf, Exception):
            return _meant(slug, leaf, witness, call=False)
    return leaves[0]


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for each in group.exceptions:
        found += _leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found
