"""``/mcp``: who may send what there, and what of it goes to the SDK."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Mapping
from http import HTTPStatus
from types import ModuleType
from typing import Any
from uuid import uuid4

import orjson
import structlog
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.views.decorators.csrf import csrf_exempt

from somaagent import problems, valkey
from somaagent.errors import Kind, SomaError, invalid
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.models import Scope
from somaagent.tenancy.scope import DATABASE_AWAY
from somaagent.web import origin, stopping
from somaagent.web.idempotency import idempotency_of_text
from somaagent.web.request import actor_of

from . import bridge, cancelling, refusals
from .cancelling import RequestOfSession

CALL, CANCELLED, INITIALIZE = "tools/call", "notifications/cancelled", "initialize"
SESSION_HEADER = "Mcp-Session-Id"
_SESSION = re.compile(r"[0-9a-f]{32}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_LONGEST_ID = 200
# What acts or spends; the rest only tells what there is.
_WRITING = frozenset({CALL, CANCELLED})
_SERVER = "apps.chat.mcp.server"
_imported: dict[str, ModuleType] = {}


@csrf_exempt
async def endpoint(request: ASGIRequest) -> HttpResponseBase:
    """Streamable HTTP of the Model Context Protocol, without sessions kept here. No cookie counts."""
    message: Any = None
    try:
        actor = _admitted(request)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])  # there is nothing to be told that was not asked for
        message, body = _read(request)
        return await _answered(request, actor, message, body)
    except SomaError as error:
        return refusals.of_error(error, message.get("id") if isinstance(message, dict) else None)
    except (*DATABASE_AWAY, *valkey.ERRORS) as error:
        return refusals.of_error(problems.absence(request, error))


def _admitted(request: ASGIRequest) -> Actor:
    stopping.refuse()
    if not origin.is_own(request.headers.get("Origin")):
        sentence = "Pages of another site may not speak with this server: send no Origin, or use its own."
        raise SomaError(Kind.FORBIDDEN, "origin_refused", sentence, field="header.Origin")
    actor = actor_of(request)
    if actor.via != "api_key":
        sentence = "Send an API key as “Authorization: Bearer <key>”: cookies do not count here."
        raise SomaError(Kind.UNAUTHENTICATED, "credential_missing", sentence, field="header.Authorization")
    actor.require(Scope.READ)
    return actor


def _read(request: ASGIRequest) -> tuple[Any, bytes]:
    """The body as JSON, and that written anew: so nobody reads it otherwise than we."""
    try:
        body = request.body
    except RequestDataTooBig as error:
        raise _too_large() from error
    if len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise _too_large()  # its length was not announced
    try:
        message = orjson.loads(body)
        return message, orjson.dumps(message)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
        sentence = "The body is not JSON that can be read, or too deep."
        raise SomaError(Kind.INVALID, refusals.MALFORMED, sentence, field="body") from error


def _too_large() -> SomaError:
    most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return SomaError(Kind.TOO_LARGE, "body_too_large", f"A request's body holds at most {most} bytes.")


async def _answered(request: ASGIRequest, actor: Actor, message: Any, body: bytes) -> HttpResponseBase:
    method = _method(message)
    structlog.contextvars.bind_contextvars(mcp_method=method[:64])
    if method in _WRITING:
        actor.require(Scope.WRITE)
    session = request.headers.get(SESSION_HEADER, "")
    if session and method != INITIALIZE and not _SESSION.fullmatch(session):
        raise SomaError(Kind.NOT_FOUND, "session_unknown", "This is no session of ours: begin a new one.")
    if method == CANCELLED and session:
        if (given_up := _of_session(session, message["params"].get("requestId"))) is not None:
            await cancelling.given_up(actor, given_up)
        return HttpResponse(status=HTTPStatus.ACCEPTED)
    server = await _server()
    asked = server.Asked(
        actor,
        _of_session(session, message.get("id")) if method == CALL else None,
        _idempotency(request, message) if method == CALL else None,
    )
    application = server.application(asked, streams=method == CALL)
    response = await bridge.answered(application, request, body)
    if method == INITIALIZE and response.status_code == HTTPStatus.OK:
        # Nothing is kept under it. It tells clients apart that number their requests alike.
        response[SESSION_HEADER] = uuid4().hex
    return response


def _method(message: Any) -> str:
    """What a single request or notification asks for; empty for what is neither, which the SDK refuses."""
    method = message.get("method") if isinstance(message, dict) else None
    if not isinstance(method, str):
        return ""
    if "id" in message and not _is_id(message["id"]):
        raise invalid("body.id", "A request's id is text or a whole number.")
    if method == CANCELLED and not isinstance(message.get("params"), Mapping):
        raise invalid("body.params", "A cancellation names the request that it is about.")
    return method


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _of_session(session: str, message_id: Any) -> RequestOfSession | None:
    if not session or not _is_id(message_id) or len(str(message_id)) > _LONGEST_ID:
        return None
    return RequestOfSession(session, str(message_id))


def _idempotency(request: ASGIRequest, message: Mapping[str, Any]) -> Idempotency | None:
    """By ``Idempotency-Key``, which is about the call and not about how its client numbers it."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise invalid("header.Idempotency-Key", "An Idempotency-Key has 1 to 200 visible ASCII characters.")
    params = message.get("params")
    said = {name: params.get(name) for name in ("name", "arguments")} if isinstance(params, Mapping) else {}
    return idempotency_of_text(key, orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode())


async def _server() -> ModuleType:
    """Our half of the SDK, imported when somebody first asks."""
    if _SERVER not in _imported:
        _imported[_SERVER] = await asyncio.to_thread(importlib.import_module, _SERVER)
    return _imported[_SERVER]
