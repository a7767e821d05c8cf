"""Wake-ups between processes: one Valkey subscription for each event loop, however many wait on it.

A wake-up says only “look again”; what there is to see stands in the turn's stream or row. One that got lost
costs the waiter a look at its next heartbeat. Each process has a channel of its own besides, on which the
turns that it hosts are called by their names: no turn subscribes to anything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog

from somaagent import valkey
from somaagent.loops import OneForEachLoop

from .owner import owner

logger = structlog.get_logger(__name__)

_RECONNECT_SECONDS = 0.5
# Calls that came before the one who is called: a turn can be cancelled while its host still learns of it.
_MOST_EARLY = 1_000


def channel_of(process: str) -> str:
    """Where a process is called, by its name as an owner of leases."""
    return f"soma:host:{process}"


class Wakeups:
    """Who waits for what in this event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._called: dict[str, Callable[[], None]] = {}
        self._early: deque[str] = deque(maxlen=_MOST_EARLY)
        self._own = channel_of(owner())
        self._pubsub = valkey.client().pubsub(ignore_subscribe_messages=True)
        self._ready = asyncio.Event()
        self._reader = asyncio.create_task(self._read(), name="wakeups")

    @asynccontextmanager
    async def on(self, channel: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever somebody publishes on ``channel``; the waiter clears it."""
        await self._ready.wait()
        woken = asyncio.Event()
        waiters = self._waiting.setdefault(channel, set())
        waiters.add(woken)
        try:
            if len(waiters) == 1:
                await self._pubsub.subscribe(channel)
            yield woken
        finally:
            waiters.discard(woken)
            if not waiters and self._waiting.get(channel) is waiters:
                del self._waiting[channel]
                await self._pubsub.unsubscribe(channel)

    @contextmanager
    def called(self, name: str, then: Callable[[], None]) -> Iterator[None]:
        """``then`` is called, inside, whenever somebody calls ``name`` on this process's channel."""
        self._called[name] = then
        if name in self._early:
            then()
        try:
            yield
        finally:
            if self._called.get(name) is then:
                del self._called[name]

    async def _read(self) -> None:
        while True:
            try:
                await self._pubsub.subscribe(self._own)
                self._ready.set()
                # What was published while the connection was away is lost: everybody looks again.
                self._wake_all()
                while True:
                    message = await self._pubsub.get_message(timeout=None)
                    if message is not None:
                        self._heard(message["channel"].decode(), message["data"].decode())
            except valkey.ERRORS as error:
                logger.warning("wakeups.disconnected", error=str(error))
                await asyncio.sleep(_RECONNECT_SECONDS)

    def _heard(self, channel: str, name: str) -> None:
        if channel != self._own:
            self._wake(channel)
        elif (then := self._called.get(name)) is not None:
            then()
        else:
            self._early.append(name)

    def _wake(self, channel: str) -> None:
        for woken in self._waiting.get(channel, ()):
            woken.set()

    def _wake_all(self) -> None:
        for channel in self._waiting:
            self._wake(channel)
        for then in self._called.values():
            then()


_of_loop = OneForEachLoop(Wakeups)


def wakeups() -> Wakeups:
    """The running event loop's wake-ups."""
    return _of_loop.get()
