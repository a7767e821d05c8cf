"""The official SDK's server, made for one request: stateless, so that any gateway answers any request.

Importing the SDK takes a second or two and tens of megabytes: the view does, in a thread, at the first
request. It speaks both ways of the protocol: that of 2026-07-28, where each request stands alone, and those
before, which begin with ``initialize``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from mcp import types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from somaagent import __version__, valkey
from somaagent.errors import Kind, SomaError
from somaagent.observability import metrics
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.scope import DATABASE_AWAY
from somaagent.web import stopping

from . import answers, asking, calling, cancelling, catalogue, outliving, shown
from .answers import Answer
from .cancelling import RequestOfSession

if TYPE_CHECKING:
    from apps.chat.models import Turn

logger = structlog.get_logger(__name__)

Application = Callable[[Any, Any, Any], Awaitable[None]]
Context = ServerRequestContext[Any, Any]

INSTRUCTIONS = (
    "Agents of SomaAgent are the tools that begin with ask_; the others are what its agents may use. "
    "A call may be refused by policy; the result says why."
)
_CRASHED = "The server failed at this request. Tell its operator the request id."
_AWAY = "A server that keeps the data is away. Try again in a moment."


@dataclass(frozen=True, slots=True)
class Asked:
    """Who sends this request, what they call it, and the key under which they may send it twice."""

    actor: Actor
    request: RequestOfSession | None = None
    idempotency: Idempotency | None = None


def application(asked: Asked, *, streams: bool) -> Application:
    """An ASGI application for one request. ``streams``: its answer may take long, and events come first."""
    handlers = _Handlers(asked)
    server: Server[Any] = Server(
        "somaagent",
        version=__version__,
        title="SomaAgent",
        instructions=INSTRUCTIONS,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        # No schema asks for headers (see ``shown``): without this the SDK would list all tools at each call.
        get_tool_input_schema=lambda _: None,
    )
    # The gateway's own span is the request's: the SDK's is left out.
    server.middleware = [_failures]
    manager = StreamableHTTPSessionManager(
        server,
        stateless=True,
        json_response=not streams,
        max_request_body_size=2 * settings.DATA_UPLOAD_MAX_MEMORY_SIZE,  # the view has looked at it
    )

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        async with manager.run():
            await manager.handle_request(scope, receive, send)

    return serve


async def _failures(ctx: Context, call_next: CallNext) -> HandlerResult:
    """What the protocol calls an error, without a word of our inside."""
    try:
        return await call_next(ctx)
    except (MCPError, ValidationError):
        raise
    except SomaError as error:
        code = types.INVALID_PARAMS if error.kind is Kind.INVALID else types.INTERNAL_ERROR
        raise MCPError(code=code, message=error.message, data={"code": error.code}) from error
    except (*DATABASE_AWAY, *valkey.ERRORS) as error:
        logger.warning("mcp.store_unavailable", reason=str(error))
        data = {"code": "store_unavailable"}
        raise MCPError(code=types.INTERNAL_ERROR, message=_AWAY, data=data) from error
    except Exception as error:
        logger.exception("mcp.crashed", method=ctx.method)
        data = {"code": "internal"}
        raise MCPError(code=types.INTERNAL_ERROR, message=_CRASHED, data=data) from error


class _Handlers:
    """What the server does, for one who asks."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._actor = asked, asked.actor

    async def list_tools(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        cursor = params.cursor if params else None
        return shown.listed(await catalogue.page(tenant_id=self._actor.tenant_id, cursor=cursor))

    async def call_tool(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        started = time.monotonic()
        answer: Answer | None = None
        try:
            answer = await self._called(context, params)
        except SomaError as error:
            answer = answers.of_error(error)
        finally:
            _note(params.name, answer, time.monotonic() - started)
        return shown.result(answer)

    async def _called(self, context: Context, params: types.CallToolRequestParams) -> Answer:
        tenant_id, arguments = self._actor.tenant_id, params.arguments or {}
        agent = await catalogue.agent_named(tenant_id=tenant_id, name=params.name)
        if agent is not None:
            return await self._ask(context, agent.slug, arguments)
        tool = await catalogue.tool_named(tenant_id=tenant_id, name=params.name)
        if tool is None:
            raise MCPError(
                code=types.INVALID_PARAMS,
                message=f"Unknown tool: {params.name[:80]}",
                data={"code": "tool_not_found"},
            )
        call = calling.call(actor=self._actor, tool=tool, arguments=arguments)
        return await outliving.stopped_with_me(call)

    async def _ask(self, context: Context, agent: str, arguments: dict[str, Any]) -> Answer:
        async def told(number: int, text: str) -> None:
            await context.session.report_progress(number, message=text)

        beginning = outliving.start(
            asking.begin(
                actor=self._actor, agent=agent, arguments=arguments, idempotency=self._asked.idempotency
            )
        )
        try:
            turn = await asyncio.shield(beginning)
            if self._asked.request is not None:
                await cancelling.begun(self._actor, self._asked.request, turn.id)
            return await asking.follow(actor=self._actor, turn=turn, told=told)
        except asyncio.CancelledError:
            # From 2026-07-28 on a client cancels by hanging up; before, that says nothing. A server that is
            # stopped hangs up itself: the turn goes on elsewhere.
            if context.protocol_version in MODERN_PROTOCOL_VERSIONS and not stopping.is_stopping():
                outliving.start(self._cancel(beginning))
            raise

    async def _cancel(self, beginning: asyncio.Task[Turn]) -> None:
        try:
            turn = await beginning
        except SomaError:
            return  # refused: there is no turn
        await cancelling.stop(self._actor, turn.id)


def _note(name: str, answer: Answer | None, seconds: float) -> None:
    """None: there was no answer, since its client went, or the protocol refused the call."""
    outcome = answer.outcome if answer else "not_answered"
    kind = "agent" if name.startswith(catalogue.ASK) else "tool"
    metrics.MCP_SERVED.labels(kind=kind, outcome="failed" if answer and answer.failed else outcome).inc()
    logger.info("mcp.called", tool=name[:80], outcome=outcome, seconds=round(seconds, 3))
