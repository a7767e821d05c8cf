"""Each request's id, its place in the log, and who asks, in either lane (see ``lanes``)."""

from __future__ import annotations

import logging
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponseBase
from servestatic.middleware import ServeStaticMiddleware

from somaagent import valkey
from somaagent.background import run_coroutine
from somaagent.resilience.limiter import RateLimited
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.fields import uuid7
from somaagent.tenancy.rates import admit, is_limited
from somaagent.tenancy.scope import DATABASE_AWAY, in_database

from . import authentication, fallback, routes
from .request import Request

logger = structlog.get_logger(__name__)

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


class _BothLanes(ABC):
    """A middleware of threads or of coroutines, as what it stands before."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        ours = cast("Request", request)
        return self.in_loop(ours) if self._is_async else self.in_thread(ours)

    @abstractmethod
    def in_thread(self, request: Request) -> HttpResponseBase: ...

    @abstractmethod
    async def in_loop(self, request: Request) -> HttpResponseBase: ...


class RequestContext(_BothLanes):
    """Names the request, in the log and in the answer. Stands before whatever may refuse a request."""

    def in_thread(self, request: Request) -> HttpResponseBase:
        started = _begin(request)
        return _end(request, self.get_response(request), started)

    async def in_loop(self, request: Request) -> HttpResponseBase:
        started = _begin(request)
        return _end(request, await self.get_response(request), started)


class Authentication(_BothLanes):
    """Sets ``request.actor``. A bearer key decides alone: a bad one is not made good by a cookie.

    Whose key or tenant has sent too many requests in a minute comes no further.
    """

    def in_thread(self, request: Request) -> HttpResponseBase:
        header = _credential(request)
        try:
            if header:
                _keep(request, authentication.actor_of_header(header), by_header=True)
            elif _has_session(request):
                _keep(request, *_of_session(request))
            if request.actor is not None and is_limited(request.actor):
                run_coroutine(admit(request.actor))
        except RateLimited as error:
            return fallback.refused(request, error)
        except (*DATABASE_AWAY, *valkey.ERRORS) as error:
            return fallback.store_away(request, error)
        return self.get_response(request)  # type: ignore[no-any-return]

    async def in_loop(self, request: Request) -> HttpResponseBase:
        header = _credential(request)
        try:
            if header:
                if (expected := _expected(request, header)) is not None:
                    _keep(request, expected, by_header=True)
                    response = await self.get_response(request)
                    if expected.proof is not None and expected.proof.held:
                        return response  # type: ignore[no-any-return]
                    # What it says is for nobody: it is asked again, of the one whom the key stands for now.
                    response.close()
                _keep(request, await authentication.actor_of_header_async(header), by_header=True)
            elif _has_session(request):
                # The session, the user and the membership in one hop, and with Django's own care.
                _keep(request, *await in_database(_of_session, request))
            if request.actor is not None and is_limited(request.actor):
                await admit(request.actor)
        except RateLimited as error:
            return fallback.refused(request, error)
        except (*DATABASE_AWAY, *valkey.ERRORS) as error:
            return fallback.store_away(request, error)
        return await self.get_response(request)  # type: ignore[no-any-return]


class Static(ServeStaticMiddleware):  # type: ignore[misc]  # servestatic has no types
    """servestatic's, which is made of coroutines: the lane of threads is not asked for files."""

    sync_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        if not iscoroutinefunction(get_response):
            raise MiddlewareNotUsed("Static files are answered in the event loop.")
        super().__init__(get_response)


def _begin(request: Request) -> float:
    request.request_id = _request_id(request)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request.request_id)
    return time.perf_counter()


def _end(request: Request, response: HttpResponseBase, started: float) -> HttpResponseBase:
    if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response = fallback.not_allowed(request, response)
    response["X-Request-ID"] = request.request_id
    _log(request, response.status_code, started)
    return response


def _log(request: HttpRequest, status: int, started: float) -> None:
    """One line a request; the probes, which come each few seconds, only when somebody debugs."""
    level = logging.DEBUG if request.path in PROBES else logging.INFO
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    logger.log(level, "request", method=request.method, path=request.path, status=status, ms=milliseconds)


def _request_id(request: HttpRequest) -> str:
    """The caller's own id where it is well formed, so that a proxy's log and ours speak of the same thing."""
    given = request.META.get("HTTP_X_REQUEST_ID", "")
    return given if REQUEST_ID.fullmatch(given) else str(uuid7())


def _expected(request: Request, header: str) -> Actor | None:
    """Whom the view may take for the actor: it holds their proof itself. Who has a limit is counted first."""
    match = getattr(request, "match", None)
    if match is None or not routes.proves(match.func, request.method):
        return None
    actor = authentication.expected_of_header(header)
    return None if is_limited(actor) else actor


def _credential(request: Request) -> str:
    request.actor = None
    request.bearer_refused = request.place_lost = False
    header: str = request.META.get("HTTP_AUTHORIZATION", "")
    return header


def _has_session(request: Request) -> bool:
    return settings.SESSION_COOKIE_NAME in request.COOKIES


def _of_session(request: Request) -> tuple[Actor | None, bool]:
    """Who asks by the browser's session, and whether they have lost the place that they chose."""
    actor = authentication.actor_of_session(request)
    return actor, actor is None and authentication.has_lost_its_place(request)


def _keep(
    request: Request, actor: Actor | None, place_lost: bool = False, *, by_header: bool = False
) -> None:
    request.actor, request.place_lost = actor, place_lost
    request.bearer_refused = by_header and actor is None
    if actor is None:
        structlog.contextvars.unbind_contextvars("tenant_id", "user_id")
    else:
        structlog.contextvars.bind_contextvars(tenant_id=str(actor.tenant_id), user_id=str(actor.user_id))
