"""Log lines: one JSON object each, the same for our loggers and for everything that logs by the standard
library.

Call ``configure`` once in an entry point. Then ``structlog.get_logger(__name__)`` anywhere, and
``structlog.contextvars.bind_contextvars(request_id=…, tenant_id=…, user_id=…, session_id=…, turn_id=…)``
where a request, task or turn begins.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, MutableMapping
from types import TracebackType
from typing import Any, TextIO

import orjson
import structlog
from opentelemetry import trace

from somaagent.observability.masking import masked

_FIRST = ("timestamp", "level", "logger", "event")
_MAX_FRAMES = 20
_EXTRAS = ("status_code",)
# Libraries that bring handlers of their own: their lines go to the root logger like all others.
_ADOPTED = (
    "celery",
    "celery.task",
    "celery.beat",
    "django",
    "django.server",
    "gunicorn",
    "gunicorn.access",
    "gunicorn.error",
    "kombu",
    "py.warnings",
    "uvicorn",
    "uvicorn.access",
    "uvicorn.error",
)
# These say at INFO what our own lines say better, or too much.
_QUIET = (
    "aiohttp.access",
    "asyncio",
    "daphne",
    "django.channels",
    "httpx",
    "httpx2",
    "mcp",
    "opentelemetry",
    "psycopg.pool",
    "urllib3",
)

EventDict = MutableMapping[str, Any]
_redactions: list[Callable[[str], str]] = []


def configure(service: str, level: str, *, stream: TextIO | None = None) -> None:
    """Sends every line of this process to ``stream`` (standard output) as JSON, with ``service`` and ``pid``.

    ``level`` is a name such as ``INFO``. May be called again; the last call holds.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    output = _Output(stream or sys.stdout)
    shared = _processors(service)
    structlog.configure(
        processors=[*shared, _render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=output.logger,
        cache_logger_on_first_use=True,
    )
    handler = _Handler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(allow=_EXTRAS), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render_text],
        )
    )
    _adopt_standard_library(handler, number)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def redact_with(redact: Callable[[str], str]) -> None:
    """Has every line of this process go through ``redact``, which knows the secrets themselves: the masks go
    by names and looks, and a secret can turn up without either.
    """
    _redactions[:] = [redact]


def _processors(service: str) -> list[structlog.typing.Processor]:
    def add_process(_: Any, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["pid"] = os.getpid()
        return event

    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=_MAX_FRAMES)
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.ExceptionRenderer(transformer),
        _mask,
        # What is behind it is ours, and holds no secret.
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        add_process,
        _add_trace,
    ]


def trace_ids(span: trace.Span) -> dict[str, str]:
    """The names by which a line says to which span it belongs: ``trace_id`` and ``span_id``, or none."""
    context = span.get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }


def _add_trace(_: Any, __: str, event: EventDict) -> EventDict:
    event.update(trace_ids(trace.get_current_span()))
    return event


def _mask(_: Any, __: str, event: EventDict) -> EventDict:
    """Leaves alone what the standard library's formatter keeps in the event, and takes out again itself."""
    kept = {name: event.pop(name) for name in ("_record", "_from_structlog") if name in event}
    return {**masked(event), **kept}


def _render(_: Any, __: str, event: EventDict) -> bytes:
    ordered = {name: event.pop(name) for name in _FIRST if name in event} | dict(event)
    try:
        return orjson.dumps(ordered, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # integers beyond 64 bits, lone surrogates: rare, and the slower way can write them
        return json.dumps(ordered, default=_plain, skipkeys=True).encode()


def _render_text(logger: Any, name: str, event: EventDict) -> str:
    return _render(logger, name, event).decode()


def _plain(value: Any) -> str:
    return str(masked(str(value)))


class _Output:
    """Writes whole lines, one writer at a time."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._unlock)

    def write(self, line: bytes) -> None:
        for redact in _redactions:
            line = redact(line.decode()).encode()
        with self._lock:
            binary = getattr(self._stream, "buffer", None)
            if binary is None:
                self._stream.write(line.decode() + "\n")
            else:
                binary.write(line + b"\n")
            self._stream.flush()

    def logger(self, *names: Any) -> _Logger:
        return _Logger(self, str(names[0]) if names else "root")

    def _unlock(self) -> None:
        self._lock = threading.Lock()


class _Logger:
    """What structlog's loggers end in."""

    def __init__(self, output: _Output, name: str) -> None:
        self._write = output.write
        self.name = name

    def msg(self, line: bytes) -> None:
        self._write(line)

    debug = info = warning = warn = error = err = exception = critical = fatal = log = msg


class _Handler(logging.Handler):
    """Ends the lines of the standard library in the same output."""

    def __init__(self, output: _Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._output.write(self.format(record).encode("utf-8", "backslashreplace"))
        except Exception:  # noqa: BLE001 - logging's own contract: a line that fails must not fail its caller
            self.handleError(record)


def _adopt_standard_library(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _ADOPTED:
        adopted = logging.getLogger(name)
        adopted.handlers.clear()
        adopted.propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    structlog.get_logger(__name__).critical("uncaught", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is None or failed.exc_type is SystemExit:
        return
    name = failed.thread.name if failed.thread else None
    information = (failed.exc_type, failed.exc_value, failed.exc_traceback)
    structlog.get_logger(__name__).critical("uncaught_in_thread", thread=name, exc_info=information)
