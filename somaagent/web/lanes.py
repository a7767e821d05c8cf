"""The gateway's HTTP application: Django, with a lane for coroutines and a lane for threads.

Stock Django under ASGI starts threads for each request and hops to one for each hook of a middleware. Here

- a **coroutine** view is answered in the event loop, its whole chain of middleware included (``chain``);
- any **other** view, and what has none, is answered in one hop to a thread of a small pool, chain and all.
  The threads stay, and with them their database connections (``CONN_MAX_AGE``).

What views, middleware, signals and clients see is Django's, but for one thing: ``request_finished`` of an
answer that is not streamed comes from the lane of threads before the answer is sent, to spare the second hop.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core import signals
from django.core.cache import close_caches
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler, reset_urlconf
from django.db import close_old_connections, reset_queries
from django.dispatch import Signal
from django.http import FileResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import Resolver404, ResolverMatch, get_resolver, set_script_prefix, set_urlconf
from django.utils.log import log_response

from somaagent.observability import server_spans

from . import fallback, routes, spans, streams
from .chain import LoopHandler
from .leaving import WHEN_LEFT

T = TypeVar("T")

THREADS = 4
# Requests that may wait for a thread. At two milliseconds each, the last of them waits for a second.
MOST_WAITING = 512
# Most answers are there by then: nobody has to watch whether their client leaves.
SOON_SECONDS = 0.05

# Django's own, about things that belong to a thread: in the event loop they find nothing to do.
_WAIT_FREE = {close_old_connections, reset_queries, close_caches, reset_urlconf}


class _Threads(BaseHandler):
    """Django's synchronous chain, for one thread at a time."""

    def __init__(self, sender: type) -> None:
        super().__init__()
        self.load_middleware()
        self._sender = sender
        self._has_spans = spans.is_present()

    def load_middleware(self, is_async: bool = False) -> None:
        """Django's, but for what the spans would keep of exceptions."""
        super().load_middleware(is_async)
        hooks: list[Callable[..., Any]] = self._exception_middleware  # type: ignore[has-type]  # Django's own
        self._exception_middleware = spans.without_exceptions(hooks)

    def serve(self, request: ASGIRequest) -> HttpResponseBase:
        signals.request_started.send(sender=self._sender, scope=request.scope)
        if self._has_spans:
            spans.prepare(request)
        response = self.get_response(request)
        response._handler_class = self._sender  # type: ignore[attr-defined]  # noqa: SLF001 as Django's handlers do
        if not response.streaming:
            response.close()
        return response

    def resolve_request(self, request: Any) -> Any:
        if request.match is None or hasattr(request, "urlconf"):
            return super().resolve_request(request)
        request.resolver_match = request.match
        view, arguments, keywords = request.match
        return routes.plain(view), arguments, keywords


class Gateway(LoopHandler):
    """The ASGI application for ``http``. One for each process."""

    def __init__(self) -> None:
        super().__init__()
        self._chain_in_threads = _Threads(type(self))
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sync-lane")
        self._in_threads = 0
        self._spans = server_spans.ServerSpans()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """No ``ThreadSensitiveContext``: it would start a thread for this request alone."""
        if scope["type"] != "http":
            raise ValueError(f"This answers HTTP only, not {scope['type']}.")
        await self.handle(scope, receive, send)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """One span a request: the lane of threads has the instrumentation's, the rest has its own."""
        since = time.time_ns()
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            with self._spans.around(scope, send, since=since):
                return
        with body:
            set_script_prefix(get_script_prefix(scope))
            request: Any
            request, refusal = self.create_request(scope, body)
            if request is None:
                with self._spans.around(scope, send, since=since) as watched:
                    await self._refuse(scope, refusal, watched)
                return
            request.since = since
            if self._is_for_threads(request):
                await self._serve_in_thread(request, receive, send)
                return
            route = request.match.route if request.match else None
            with self._spans.around(scope, send, route=route, since=since) as watched:
                await self._tell(signals.request_started, scope=scope)
                answering = self._answered(self._in_loop, request, watched)
                del request  # with all that hangs on it: the answer may be a stream of hours
                await self._until_client_leaves(scope, receive, answering)

    # -- choosing --

    def _is_for_threads(self, request: Any) -> bool:
        request.match = None
        if request.path_info.startswith(settings.STATIC_URL):
            return False  # servestatic's middleware is asynchronous
        with suppress(Resolver404):  # a thread answers it: for people, with a page
            request.match = get_resolver(settings.ROOT_URLCONF).resolve(request.path_info)
            request.match.tried = None  # every pattern that did not match: for Django's page of a 404
            if routes.is_coroutine(request.match.func, request.method):
                return False
        if not spans.suits(request):
            return False  # refused by the middleware, which needs no thread for it
        if self._in_threads < THREADS + MOST_WAITING:
            return True
        request.match = ResolverMatch(
            fallback.overloaded, (), {}, route=getattr(request.match, "route", None)
        )
        return False

    def resolve_request(self, request: Any) -> Any:
        if request.match is None or hasattr(request, "urlconf"):
            return super().resolve_request(request)
        request.resolver_match = request.match
        return request.match

    # -- in the event loop --

    async def _in_loop(self, request: ASGIRequest) -> HttpResponseBase:
        """``get_response_async``, which would log in a thread."""
        set_urlconf(settings.ROOT_URLCONF)
        response: Any = await self.chain_for(request)(request)
        if hasattr(request, "_files"):  # what else ``request.close`` closes; it would keep all of the request
            response._resource_closers.append(request.close)  # noqa: SLF001 as Django's handlers do
        response._handler_class = type(self)  # noqa: SLF001 as Django's handlers do
        if response.status_code >= 400:  # noqa: PLR2004 what Django counts as an error
            text = "%s: %s"
            log_response(text, response.reason_phrase, request.path, response=response, request=request)
        return response  # type: ignore[no-any-return]

    async def _answered(self, answer: Callable[[Any], Any], request: ASGIRequest, send: Any) -> None:
        """The view's answer, sent and closed. A cancellation stops the view, or closes its stream."""
        try:
            response = await answer(request)
        except asyncio.CancelledError:
            await self._tell(signals.request_finished)
            raise
        del request, answer
        try:
            await self.send_response(response, send)
        finally:
            await self._close(response)

    async def _until_client_leaves(self, scope: Any, receive: Any, work: Any) -> None:
        """Run to the end of ``work``; cancel it when its client has gone.

        A task of its own, so that what it sets in its context does not reach the connection's next request.
        """
        answering = asyncio.create_task(work)
        if when_left := scope.get(WHEN_LEFT):
            forget = when_left(answering.cancel)
            try:
                await answering
            except asyncio.CancelledError:
                # Its client has gone, unless the server cancels the whole request.
                if _is_cancelled():
                    raise
            finally:
                forget()
            return
        await self._listening(receive, answering)

    async def _listening(self, receive: Any, answering: asyncio.Task[None]) -> None:
        """The same, where the server says it to who listens."""
        listening: list[asyncio.Task[None]] = []

        def listen() -> None:
            listening.append(asyncio.create_task(self._leave_with(answering, receive)))

        soon = asyncio.get_running_loop().call_later(SOON_SECONDS, listen)
        try:
            await answering
        except asyncio.CancelledError:
            # The client has gone, and its answer was cancelled; or the server cancels the whole request.
            if not (listening and listening[0].done()) or _is_cancelled():
                raise
        finally:
            soon.cancel()
            for task in listening:
                await _ended(task)

    async def _leave_with(self, answering: asyncio.Task[Any], receive: Any) -> None:
        with suppress(RequestAborted):
            await self.listen_for_disconnect(receive)
        answering.cancel()

    async def _refuse(self, scope: Any, refusal: Any, send: Any) -> None:
        await self._tell(signals.request_started, scope=scope)
        refusal._handler_class = type(self)  # noqa: SLF001 as Django's handlers do
        await self.send_response(refusal, send)
        await self._close(refusal)

    async def _close(self, response: HttpResponseBase) -> None:
        if _waits(signals.request_finished, type(self)):
            await self._run(response.close)
        else:
            response.close()

    async def _tell(self, signal: Signal, **facts: Any) -> None:
        if _waits(signal, type(self)):
            await signal.asend(sender=type(self), **facts)

    # -- in threads --

    async def _serve_in_thread(self, request: ASGIRequest, receive: Any, send: Any) -> None:
        self._in_threads += 1
        try:
            response = await self._run(self._chain_in_threads.serve, request)
        finally:
            self._in_threads -= 1
        if not isinstance(response, StreamingHttpResponse):
            await self.send_response(response, send)
            return
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        close: Callable[[], Any] = functools.partial(self._run, response.close)
        if not response.is_async:
            close = streams.ThreadStream(response).close
        await self._until_client_leaves(request.scope, receive, self._streamed(response, close, send))

    async def _streamed(self, response: HttpResponseBase, close: Callable[[], Any], send: Any) -> None:
        try:
            await self.send_response(response, send)
        finally:
            await asyncio.shield(close())

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        """On one of the lane's threads, with a copy of this request's context: what it sets there, stays."""
        hop = sync_to_async(
            function,
            thread_sensitive=False,
            executor=self._threads,
            context=contextvars.copy_context(),
        )
        return await hop(*arguments)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _ended(task: asyncio.Task[Any]) -> None:
    """End a task. Raises what it ended with by itself."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def _waits(signal: Signal, sender: type) -> bool:
    """Whether a receiver that is not Django's own listens, which may wait, or be a coroutine."""
    plain, coroutines = signal._live_receivers(sender)  # noqa: SLF001 there is no public way to ask
    return bool(coroutines) or not _WAIT_FREE.issuperset(plain)
