"""Fewer, larger text events: a model writes a token at a time, and each event costs a round trip and a
frame.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing

from somaagent.agent.events import AgentEvent, ReasoningDelta, TextDelta

_DELTAS = (TextDelta, ReasoningDelta)


async def coalesce(
    events: AsyncGenerator[AgentEvent, None], seconds: float
) -> AsyncGenerator[AgentEvent, None]:
    """The same events, where text that arrives within ``seconds`` of the last text is put together; so is
    reasoning, and the two are kept apart.

    The first text is passed on at once, and any other event flushes what waits before it. The source runs
    ahead of the reader with text only: after any other event it waits until the reader comes back, so what
    the reader does with that event (persist it, say) is done before the source goes on. Errors of the
    source are raised after what came before them. Closing this generator closes the source.
    """
    reader = _Reader(events)
    pump = asyncio.create_task(reader.pump())
    pump.add_done_callback(reader.end)
    try:
        while True:
            await reader.arrived.wait()
            reader.arrived.clear()
            event = None
            while reader.inbox:
                event = reader.next()
                yield event
            if pump.done() and not reader.inbox:
                break
            reader.drained.set()
            if isinstance(event, _DELTAS):
                await reader.hold(seconds)
        pump.result()
    finally:
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)


class _Reader:
    """What the pump fills and ``coalesce`` empties."""

    def __init__(self, events: AsyncGenerator[AgentEvent, None]) -> None:
        self._events = events
        self.inbox: deque[AgentEvent] = deque()
        self.arrived = asyncio.Event()
        self.drained = asyncio.Event()
        self._urgent = asyncio.Event()

    async def pump(self) -> None:
        async with aclosing(self._events):
            async for event in self._events:
                self.inbox.append(event)
                self.arrived.set()
                if not isinstance(event, _DELTAS):
                    self.drained.clear()
                    self._urgent.set()
                    await self.drained.wait()

    def end(self, _: asyncio.Task[None]) -> None:
        """Called when the pump is done, well or badly: nothing more will come."""
        self._urgent.set()
        self.arrived.set()

    def next(self) -> AgentEvent:
        """The oldest event, with all that directly follows it and is of its kind when it is text or
        reasoning.
        """
        event = self.inbox.popleft()
        if not isinstance(event, _DELTAS):
            self._urgent.clear()
            return event
        parts = [event.text]
        while self.inbox and isinstance(follower := self.inbox[0], type(event)):
            parts.append(follower.text)
            self.inbox.popleft()
        return type(event)("".join(parts)) if len(parts) > 1 else event

    async def hold(self, seconds: float) -> None:
        """Lets text gather for ``seconds``, or until something that may not wait is here."""
        try:
            async with asyncio.timeout(seconds):
                await self._urgent.wait()
        except TimeoutError:
            return
