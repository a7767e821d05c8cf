"""Streams end with the credential that opened them: its key was revoked or has expired, its browser session
has ended, its user or tenant was suspended, its membership has ended or has another role.

One task for each event loop looks at all open streams' credentials together: when somebody says that some may
have ended, and every few seconds besides.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

import structlog

from somaagent import valkey
from somaagent.errors import Kind, SomaError
from somaagent.loops import OneForEachLoop
from somaagent.observability import metrics
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.scope import DATABASE_AWAY
from somaagent.tenancy.standing import CHANNEL, Held, still_good

from .taps import HEARTBEAT_SECONDS, happened
from .wakeups import wakeups

T = TypeVar("T")

logger = structlog.get_logger(__name__)

_PAUSE_SECONDS = 1.0
# After a message: a request that was let in just before it may open its stream only after the first look.
_AGAIN_SECONDS = (0.5, 2.0, 5.0)
_END = object()


class CredentialEnded(SomaError):  # noqa: N818 - it says what happened
    """The credential with which a stream was opened is good no more."""

    def __init__(self) -> None:
        sentence = (
            "This credential has ended, or what it allows has changed: sign in again, or use another key."
        )
        super().__init__(Kind.UNAUTHENTICATED, "credential_ended", sentence)


class Standing:
    """Of one open stream: whether its credential is good. ``on_end`` is called once, when it is not."""

    __slots__ = ("_on_end", "ended")

    def __init__(self, on_end: Callable[[], Any]) -> None:
        self.ended = False
        self._on_end = on_end

    def check(self) -> None:
        """Raise ``CredentialEnded`` where it has."""
        if self.ended:
            raise CredentialEnded

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self._on_end()


@contextmanager
def watched(actor: Actor, on_end: Callable[[], Any]) -> Iterator[Standing]:
    """The standing of a stream that is open meanwhile."""
    watch = _of_loop.get()
    held, standing = Held.by(actor), Standing(on_end)
    watch.open(held, standing)
    try:
        yield standing
    finally:
        watch.close(held, standing)


async def while_good(actor: Actor, events: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same events, cut short by ``CredentialEnded`` even while the next is waited for."""
    over = asyncio.Event()
    with watched(actor, over.set) as standing:
        ending = asyncio.create_task(over.wait())
        try:
            async with aclosing(events):
                while (event := await _next_unless(ending, events, standing)) is not _END:
                    yield event
        finally:
            ending.cancel()


async def _next_unless(
    ending: asyncio.Task[Any], events: AsyncGenerator[Any, None], standing: Standing
) -> Any:
    coming = asyncio.create_task(_next(events))
    try:
        await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
        standing.check()
        return coming.result()
    finally:
        if not coming.done():
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


async def _next(events: AsyncGenerator[Any, None]) -> Any:
    return await anext(events, _END)


class _Watch:
    """The open streams of one event loop, by their credentials."""

    def __init__(self) -> None:
        self._open: dict[Held, set[Standing]] = {}
        self._task = asyncio.create_task(self._run(), name="credentials")

    def open(self, held: Held, standing: Standing) -> None:
        self._open.setdefault(held, set()).add(standing)

    def close(self, held: Held, standing: Standing) -> None:
        streams = self._open.get(held)
        if streams is not None:
            streams.discard(standing)
            if not streams:
                del self._open[held]

    async def _run(self) -> None:
        while True:
            try:
                async with wakeups().on(CHANNEL) as woken:
                    await self._look_on(woken)
            except (*DATABASE_AWAY, *valkey.ERRORS) as error:
                # Nobody is let in meanwhile either; who is in stays until it can be looked up.
                logger.warning("credentials.not_looked_up", reason=str(error))
            except Exception:
                logger.exception("credentials.look_crashed")
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _look_on(self, woken: asyncio.Event) -> None:
        again: list[float] = []
        while True:
            woken.clear()
            await self._look()
            if await happened(woken, again.pop(0) if again else HEARTBEAT_SECONDS):
                again = list(_AGAIN_SECONDS)

    async def _look(self) -> None:
        held = list(self._open)
        if not held:
            return
        good = await still_good(held)
        for one in held:
            if one not in good:
                for standing in list(self._open.get(one, ())):
                    metrics.STREAMS_CUT.inc()
                    standing.end()


_of_loop = OneForEachLoop(_Watch)
