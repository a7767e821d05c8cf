"""Each request's id, its place in the log, and who asks. Neither middleware needs a thread of its own."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import cast

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from somaagent.tenancy import selectors
from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.scope import DATABASE_AWAY

from . import fallback
from .authentication import actor_of_header
from .request import Request

logger = structlog.get_logger(__name__)

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
Handler = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class _AsyncOnly:
    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Handler) -> None:
        if not iscoroutinefunction(get_response):
            raise RuntimeError("SomaAgent is served over ASGI only.")
        self.get_response = get_response
        # Typed for functions; made for instances like this one too (asgiref's own documentation).
        markcoroutinefunction(self)  # type: ignore[type-var]


class RequestContext(_AsyncOnly):
    """Names the request, in the log and in the answer. Stands before whatever may refuse a request."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        ours = cast("Request", request)
        ours.request_id = _request_id(request)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=ours.request_id)
        started = time.perf_counter()
        response = await self.get_response(request)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response = fallback.not_allowed(request, response)
        response["X-Request-ID"] = ours.request_id
        _log(request, response.status_code, started)
        return response


class Authentication(_AsyncOnly):
    """Sets ``request.actor``. A bearer key decides alone: a bad one is not made good by a cookie."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            await _authenticate(cast("Request", request))
        except DATABASE_AWAY as error:
            return fallback.store_away(request, error)
        return await self.get_response(request)


def _log(request: HttpRequest, status: int, started: float) -> None:
    """One line a request; the probes, which come each few seconds, only when somebody debugs."""
    level = logging.DEBUG if request.path in PROBES else logging.INFO
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    logger.log(level, "request", method=request.method, path=request.path, status=status, ms=milliseconds)


def _request_id(request: HttpRequest) -> str:
    """The caller's own id where it is well formed, so that a proxy's log and ours speak of the same thing."""
    given = request.headers.get("X-Request-ID", "")
    return given if REQUEST_ID.fullmatch(given) else str(uuid7())


async def _authenticate(request: Request) -> None:
    request.actor = None
    request.bearer_refused = False
    header = request.headers.get("Authorization", "")
    if header:
        request.actor = await actor_of_header(header)
        request.bearer_refused = request.actor is None
    elif settings.SESSION_COOKIE_NAME in request.COOKIES:
        user = await request.auser()
        # With a one-time password a user can do one thing: choose another.
        if user.is_authenticated and not user.password_is_one_time:
            request.actor = await selectors.actor_by_user_async(user.pk)
    if request.actor is not None:
        structlog.contextvars.bind_contextvars(
            tenant_id=str(request.actor.tenant_id), user_id=str(request.actor.user_id)
        )
