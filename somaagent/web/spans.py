"""The spans of the lane of threads: OpenTelemetry's instrumentation of Django, held to what spans may tell.

It is a middleware of the synchronous kind. The lane of coroutines does without it (``chain``) and opens its
spans by ``observability.tracing``; the hooks here give both the same names and facts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import DisallowedHost, ImproperlyConfigured
from django.http import HttpResponseBase
from django.utils.module_loading import import_string
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.metrics import NoOpMeterProvider

from somaagent.observability import logging, server_spans

_PATH: str = DjangoInstrumentor._opentelemetry_middleware  # noqa: SLF001 there is no public name of it
_MIDDLEWARE: type = import_string(_PATH)
# It comes right behind, so that what it refuses has its request's id.
_FIRST = "somaagent.web.middleware.RequestContext"
# By which the instrumentation is told when a request came.
_SINCE = "opentelemetry-instrumentor-django.starttime_key"
_WHOLE = "somaagent.whole_scope"


def instrument() -> None:
    """Put the instrumentation into ``settings.MIDDLEWARE``; its spans go to this process's provider.

    Call it once in a process, after ``tracing.configure`` and before a chain of middleware is built; the last
    call holds. Raises ``ImproperlyConfigured`` where the environment keeps it from its place.
    """
    instrumentor = DjangoInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    place = settings.MIDDLEWARE.index(_FIRST) + 1
    instrumentor.instrument(
        tracer_provider=trace.get_tracer_provider(),
        meter_provider=NoOpMeterProvider(),  # requests are counted by django-prometheus
        excluded_urls=",".join(f"^[^/]+//[^/]+{re.escape(path)}" for path in server_spans.UNTRACED),
        request_hook=_begin,
        response_hook=_end,
        middleware_position=place,
    )
    if settings.MIDDLEWARE.count(_PATH) != 1 or settings.MIDDLEWARE[place] != _PATH:
        raise ImproperlyConfigured(
            "OpenTelemetry's instrumentation of Django is not where it belongs. Unset "
            "OTEL_PYTHON_DJANGO_INSTRUMENT and OTEL_PYTHON_DJANGO_MIDDLEWARE_POSITION: SA01_OTLP_ENDPOINT "
            "alone says whether spans are sent."
        )


def is_instrumentation(middleware: Any) -> bool:
    """Whether this class is the instrumentation's middleware."""
    return middleware is _MIDDLEWARE


def is_present() -> bool:
    """Whether the next chain of threads has the instrumentation in it."""
    return _PATH in settings.MIDDLEWARE


def suits(request: Any) -> bool:
    """Whether the instrumentation can read this request's address, which it does before anybody checks it."""
    try:
        request.get_host()
    except DisallowedHost:
        return False
    return bool(request.path.startswith("/"))


def without_exceptions(hooks: list[Callable[..., Any]]) -> list[Callable[..., Any]]:
    """The chain's hooks for exceptions without the instrumentation's.

    It would keep their words, and call a 404 an error of the server. The status says how a request ended.
    """
    return [hook for hook in hooks if not isinstance(getattr(hook, "__self__", None), _MIDDLEWARE)]


def prepare(request: Any) -> None:
    """Show the instrumentation no more of a request than a span may tell, until ``_begin``.

    Of the headers it would read all, and fail at some that are not text. ``request.match`` spares it looking
    for the view once more; ``request.since`` is when the request came.
    """
    if not server_spans.is_traced(request.path):
        return
    whole = request.scope
    request.META[_SINCE] = request.since
    request.resolver_match = request.match
    headers = server_spans.context_headers(whole).items()
    request.scope = {
        "type": "http",
        "method": whole["method"],
        "path": whole["path"],
        "scheme": whole["scheme"],
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        _WHOLE: whole,
    }


def _begin(span: trace.Span, request: Any) -> None:
    request.scope = request.scope.get(_WHOLE, request.scope)
    request.resolver_match = None
    # For the lines that are written when the span is over: the request's own is the last.
    structlog.contextvars.bind_contextvars(**logging.trace_ids(span))


def _end(span: trace.Span, request: Any, response: HttpResponseBase) -> None:
    match = getattr(request, "match", None)
    route = None if match is None else match.route
    span.update_name(server_spans.name_of(request.scope, route))
    span.set_attributes(server_spans.facts_of(request.scope, route))
    server_spans.note_status(span, response.status_code)
