"""Django's chain of middleware for the lane of coroutines: the same classes, in the event loop.

Django's own asynchronous mode sends each hook of a synchronous middleware to a thread. Those that are named
here wait for nothing, so they are called where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string
from django_prometheus.middleware import PrometheusAfterMiddleware, PrometheusBeforeMiddleware

from somaagent.tenancy.scope import in_database

from . import spans
from .authentication import has_bearer
from .csp import ContentSecurityPolicy

# Their hooks read and write the request and the response, and never wait. (A user or a session that they put
# there is lazy: ``middleware.Authentication`` loads it, in a thread.)
WAIT_FREE: tuple[type, ...] = (
    PrometheusBeforeMiddleware,
    SecurityMiddleware,
    ContentSecurityPolicy,
    CommonMiddleware,
    CsrfViewMiddleware,
    AuthenticationMiddleware,
    MessageMiddleware,
    XFrameOptionsMiddleware,
    PrometheusAfterMiddleware,
)


async def _in_loop(self: Any, request: HttpRequest) -> HttpResponseBase:
    """``MiddlewareMixin.__acall__`` without threads."""
    response = self.process_request(request) if hasattr(self, "process_request") else None
    response = response or await self.get_response(request)
    if hasattr(self, "process_response"):
        response = self.process_response(request, response)
    return response  # type: ignore[no-any-return]


class _Session(SessionMiddleware):
    """Goes to a thread when there is something to save."""

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        self.process_request(request)
        response: Any = await self.get_response(request)  # type: ignore[misc]
        if request.session.modified or settings.SESSION_SAVE_EVERY_REQUEST:
            return await in_database(self.process_response, request, response)
        return self.process_response(request, response)


def in_loop(middleware: Any) -> Any:
    """What stands for a middleware in the lane of coroutines."""
    if spans.is_instrumentation(middleware):
        raise MiddlewareNotUsed("The lane of coroutines opens its spans itself.")
    if middleware is SessionMiddleware:
        return _Session
    if middleware in WAIT_FREE:
        return type(middleware.__name__, (middleware,), {"__acall__": _in_loop})
    own_way = not (isinstance(middleware, type) and issubclass(middleware, MiddlewareMixin))
    if own_way and getattr(middleware, "async_capable", False):
        return middleware
    raise ImproperlyConfigured(
        f"{middleware!r} would hop to a thread in the lane of coroutines: write it for them, or add it to "
        "somaagent.web.chain.WAIT_FREE if its hooks wait for nothing."
    )


class LoopHandler(ASGIHandler):
    """Django's handler with ``settings.MIDDLEWARE`` in the event loop."""

    def load_middleware(self, is_async: bool = True) -> None:
        """As in Django's handler, for coroutines alone; and a shorter chain for requests of programs."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._middleware_chain = self._links(settings.MIDDLEWARE, hooks=True)
        ours = [path for path in settings.MIDDLEWARE if path not in settings.BROWSER_MIDDLEWARE]
        self._chain_of_programs = self._links(ours, hooks=False)

    def chain_for(self, request: HttpRequest) -> Any:
        """The chain that answers a request: a bearer key decides alone, so what deals with sessions, users
        and forms of browsers has nothing to do with one.
        """
        return self._chain_of_programs if has_bearer(request) else self._middleware_chain

    def _links(self, paths: Sequence[str], *, hooks: bool) -> Any:
        """A chain of middleware, outermost first. ``hooks``: theirs around views are this handler's."""
        handler = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]
        for path in reversed(paths):
            try:
                instance = in_loop(import_string(path))(handler)
            except MiddlewareNotUsed:
                continue
            if hooks:
                self._hook(instance)
            handler = convert_exception_to_response(instance)
        return handler

    def _hook(self, instance: Any) -> None:
        if hasattr(instance, "process_view"):
            self._view_middleware.insert(0, _awaitable(instance.process_view))
        if hasattr(instance, "process_template_response"):
            self._template_response_middleware.append(_awaitable(instance.process_template_response))
        if hasattr(instance, "process_exception"):
            # Django calls these in a thread, all of them together.
            self._exception_middleware.append(instance.process_exception)


def _awaitable(hook: Callable[..., Any]) -> Callable[..., Any]:
    if iscoroutinefunction(hook):
        return hook

    async def called(*arguments: Any, **keywords: Any) -> Any:
        return hook(*arguments, **keywords)

    # Django names the class of a hook that answers with nothing.
    called.__self__ = hook.__self__  # type: ignore[attr-defined]
    return called
