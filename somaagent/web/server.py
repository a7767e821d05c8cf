"""What we add to gunicorn: answers to unreadable requests as problem+json, an end for silent connections,
JSON logs.
"""

from __future__ import annotations

import asyncio
import dis
import functools
import signal
from collections.abc import Callable, Iterable
from http import HTTPStatus
from types import FunctionType
from typing import Any

import orjson
import structlog
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers import gasgi
from uuid_utils.compat import uuid7

from .accepting import Shares, SharingLoop
from .leaving import WHEN_LEFT

FIRST_REQUEST_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_STOP_SIGNALS = {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}

# What is at fault, by the status that gunicorn chose.
_PLACES = {
    HTTPStatus.REQUEST_URI_TOO_LONG: ("target_too_long", "path", "The request's address is too long."),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        "headers_too_large",
        "headers",
        "The request's headers are too large or too many.",
    ),
}
_UNREADABLE = ("malformed", "request", "The request cannot be read.")

logger = structlog.get_logger(__name__)


class _Pieces(list[bytes]):
    """What gunicorn needs of a deque, in a tenth of its memory: one has room for 64 from the start."""

    def popleft(self) -> bytes:
        return self.pop(0)


def _set_by(function: FunctionType) -> set[str]:
    """The attributes that it sets."""
    return {str(step.argval) for step in dis.get_instructions(function) if step.opname == "STORE_ATTR"}


class GatewayProtocol(ASGIProtocol):  # type: ignore[misc]  # gunicorn has no types
    """A connection that answers what it cannot read like everything else answers errors.

    Thousands of them wait with a stream, so each is made small, and tells by itself when its client leaves:
    nobody has to listen for it.
    """

    # More than Python keeps in dictionaries that share their keys.
    __slots__ = tuple(sorted({*_set_by(ASGIProtocol.__init__), "_left"}))

    def connection_made(self, transport: Any) -> None:
        """Gives the first request a time: a connection without one costs its owner nothing, and would hold up
        a stop.
        """
        self._left: list[Callable[[], object]] = []
        super().connection_made(transport)
        for event in (self._request_ready, self._flow_control and self._flow_control._is_writable_event):  # noqa: SLF001 to be small
            if event is not None:
                event._waiters = []  # noqa: SLF001 as above
        self.worker.count()
        self.worker.loop.call_later(FIRST_REQUEST_SECONDS, self._close_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.worker.count()
        for call in self._left:
            call()

    def when_left(self, call: Callable[[], object]) -> Callable[[], None]:
        """Calls it when the client leaves, soon where it has; gives what forgets it.

        One connection may have several: gunicorn serves the next request while the last one's call ends.
        """
        self._left.append(call)
        if self._conn_lost_handled:
            self.worker.loop.call_soon(call)
        return functools.partial(self._left.remove, call)

    def _on_headers_complete(self) -> Any:
        outcome = super()._on_headers_complete()
        if self._body_receiver is not None:
            self._body_receiver._chunks = _Pieces()  # noqa: SLF001 as above
        return outcome

    def _build_http_scope(self, *facts: Any) -> dict[str, Any]:
        scope: dict[str, Any] = super()._build_http_scope(*facts)
        scope[WHEN_LEFT] = self.when_left
        return scope

    def _close_if_silent(self) -> None:
        if self.req_count <= 1 and self._awaiting_request:
            self._keepalive_timeout()

    def _send_error_response(
        self, status: int, message: str, extra_headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        phrase = HTTPStatus(status).phrase
        request_id = str(uuid7())
        body = _problem(status, phrase, message, request_id)
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.info("request.unreadable", status=status, reason=message, request_id=request_id)
        head = [
            f"HTTP/1.1 {status} {phrase}",
            "Content-Type: application/problem+json",
            f"Content-Length: {len(body)}",
            f"X-Request-ID: {request_id}",
            *(f"{name}: {value}" for name, value in extra_headers),
            "Connection: close",
        ]
        self._safe_write("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)


def _problem(status: int, phrase: str, message: str, request_id: str) -> bytes:
    """The shape of ``somaagent.problems.Problem``. ``message`` is gunicorn's, and tells nothing of our
    inside.
    """
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
        code, errors = "internal", []
        detail = "The server failed at this request. Tell its operator the request id."
    else:
        code, field, detail = _PLACES.get(HTTPStatus(status), _UNREADABLE)
        errors = [{"field": field, "message": message}]
    return orjson.dumps(
        {
            "type": f"urn:somaagent:problem:{code}",
            "title": phrase,
            "status": status,
            "code": code,
            "detail": detail,
            "request_id": request_id,
            "errors": errors,
        }
    )


def hold_signals() -> None:
    """Keeps signals to stop until the worker's loop runs; uvloop would lose one that comes while it boots."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)


class GatewayWorker(gasgi.ASGIWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own ASGI worker, with our protocol, a fair share of the connections, and one drain for
    connections and application.

    ``shares`` and ``place`` are set by the master before it forks.
    """

    lifespan: Any
    shares: Shares
    place: int

    def init_process(self) -> None:
        gasgi.ASGIProtocol = GatewayProtocol  # the worker names its protocol's class in no other place
        super().init_process()

    def count(self) -> None:
        """Tell the other workers how many connections this one has, if it takes any."""
        takes = self.alive and self.servers
        self.shares.write(self.place, self.nr_conns if takes else Shares.CLOSED)

    def notify(self) -> None:
        super().notify()
        self.count()

    def _setup_event_loop(self) -> None:
        self.loop = SharingLoop(lambda: self.nr_conns > self.shares.least())
        asyncio.set_event_loop(self.loop)

    async def _serve(self) -> None:
        """The loop runs, so it hears signals; what came since ``hold_signals`` comes now."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        await super()._serve()

    async def _shutdown(self) -> None:
        """Tells the application to stop at once, while its connections are waited for.

        gunicorn would tell it after them, when what it has to finish is overdue. Turns that run on without
        a connection get the same time as those with one.
        """
        self.count()
        lifespan, self.lifespan = self.lifespan, None
        if lifespan is None or self._quick_shutdown:
            await super()._shutdown()
            return
        stopping = asyncio.create_task(lifespan.shutdown())
        await super()._shutdown()
        while not (stopping.done() or self._quick_shutdown):
            await asyncio.wait([stopping], timeout=_LOOK_SECONDS)


class GatewayLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Hands gunicorn's lines to the root logger, which writes JSON, and writes no access log: requests log
    themselves.
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg)
        self.error_log.propagate = True

    def setup(self, cfg: Config) -> None:
        self.cfg = cfg
        self._access_log_enabled = False
        self.loglevel = self.LOG_LEVELS[cfg.loglevel]
        self.error_log.handlers.clear()
        self.error_log.setLevel(self.loglevel)
