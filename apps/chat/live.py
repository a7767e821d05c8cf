"""A turn's answer as HTML while it is written: server-sent events for the page.

``render``  {"start", "html"}: the answer's blocks from number ``start`` on; sent at a pace that the eye needs
``think``   {"anew", "text"}: the next piece of what the model thinks before it answers, as plain text; the
            first where ``anew`` is true. It is not part of the answer; a page that is loaded later has it
            once its step is done
``calls``   {"html"}: the calls of tools that are new or went on, each an element; sent again after a silence
            where somebody has answered meanwhile
``done``    {"html"}: the whole answer with its state, as the page shows it; the last event

An event's id is that of the last event of the turn that it shows. A client that comes back is sent the answer
from its first block: Markdown cannot be continued from the middle.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, get_args
from uuid import UUID

import orjson
import structlog
from django.template.loader import render_to_string

from somaagent import valkey
from somaagent.agent.events import ReasoningDelta, TextDelta, TurnStarted
from somaagent.agent.step_events import ToolEvent
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import Scope
from somaagent.tenancy.scope import in_tenant

from . import sse, transcript
from .growing import Change, GrowingAnswer
from .taps import Record

logger = structlog.get_logger(__name__)

PACE_SECONDS = 0.08
# At most a fifth of a processor for one answer, however slow its Markdown is.
REST_PER_WORK = 4
# More than this takes milliseconds, and is rendered beside the event loop.
RENDERED_IN_LOOP = 1_500
RETRY = b"retry: 1000\n\n"
_OF_CALLS = frozenset(event.type for event in get_args(ToolEvent))


async def stream(
    actor: Actor, turn_id: UUID, records: AsyncIterator[Record | None]
) -> AsyncGenerator[bytes, None]:
    """The page's events out of all of a turn's."""
    try:
        yield RETRY
        page = _Page(actor, turn_id)
        async with aclosing(_batches(records, page.rest)) as batches:
            async for batch in batches:
                yield await page.show(batch)
                if page.ended:
                    break
        html = await in_tenant(actor.tenant_id, _whole, actor, turn_id)
        yield _event(page.sequence, "done", {"html": html})
    except valkey.ERRORS:
        # The browser connects again by itself, and goes on when Valkey is back.
        logger.exception("page.events_unavailable", turn_id=str(turn_id))


class _Page:
    """What one client has on its page."""

    def __init__(self, actor: Actor, turn_id: UUID) -> None:
        self.sequence = 0
        self.ended = False
        self._actor, self._turn_id = actor, turn_id
        self._calls: dict[UUID, str] = {}
        self._calls_changed = False
        self._answer = GrowingAnswer()
        self._thought = _Thought()
        self._work = 0.0

    def rest(self) -> float:
        return max(PACE_SECONDS, self._work * REST_PER_WORK)

    async def show(self, batch: list[Record | None]) -> bytes:
        """The events that bring the page up to date with these records; a comment where nothing changed."""
        changed = False
        for record in batch:
            if record is None:
                # An answer that is not the last makes no event: nobody has the turn.
                self._calls_changed = bool(self._calls)
                continue
            self.sequence = record.sequence
            self.ended = record.final
            changed = self._take(record) or changed
        events = []
        if thought := self._thought.taken():
            events.append(_event(self.sequence, "think", thought))
        if self._calls_changed and not self.ended and (calls := await self._new_calls()):
            events.append(_event(self.sequence, "calls", {"html": calls}))
        if changed and not self.ended:
            change = await self._change()
            events.append(_event(self.sequence, "render", {"start": change.start, "html": change.html}))
        return b"".join(events) or sse.HEARTBEAT

    def _take(self, record: Record) -> bool:
        if record.type == TurnStarted.type:
            # Another attempt begins the answer anew.
            self._answer = GrowingAnswer()
            self._thought = _Thought()
            return bool(record.values().get("attempt", 1) > 1)
        if record.type in _OF_CALLS:
            self._calls_changed = True
        if record.type == ReasoningDelta.type:
            self._thought.add(record.values()["text"])
        if record.type == TextDelta.type:
            self._answer.add(record.values()["text"])
            return True
        return False

    async def _new_calls(self) -> str:
        """The calls that the client has not seen as they are."""
        self._calls_changed = False
        shown = await in_tenant(self._actor.tenant_id, _calls, self._actor, self._turn_id)
        changed = [html for call_id, html in shown.items() if self._calls.get(call_id) != html]
        self._calls = shown
        return "".join(changed)

    async def _change(self) -> Change:
        before = time.perf_counter()
        if self._answer.unsettled > RENDERED_IN_LOOP:
            change = await asyncio.to_thread(self._answer.change)
        else:
            change = self._answer.change()
        self._work = time.perf_counter() - before
        return change


class _Thought:
    """What the model thought and the page was not told yet."""

    def __init__(self) -> None:
        self._anew = True
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        self._pieces.append(text)

    def taken(self) -> dict[str, Any] | None:
        """The next piece for the page; None where there is none."""
        if not self._pieces:
            return None
        piece = {"anew": self._anew, "text": "".join(self._pieces)}
        self._anew, self._pieces = False, []
        return piece


async def _batches(
    records: AsyncIterator[Record | None], rest: Callable[[], float]
) -> AsyncGenerator[list[Record | None], None]:
    """All records that came since the last time, at least one; then a rest."""
    waiting: list[Record | None] = []
    woken = asyncio.Event()

    async def read() -> None:
        async with aclosing(records) as source:  # type: ignore[type-var]  # every iterator of ours is a generator
            async for record in source:
                waiting.append(record)
                woken.set()

    reader = asyncio.create_task(read(), name="page reader")
    reader.add_done_callback(lambda _: woken.set())
    try:
        while not reader.done() or waiting:
            await woken.wait()
            woken.clear()
            if waiting:
                batch = waiting.copy()
                waiting.clear()
                yield batch
                await asyncio.sleep(rest())
        await reader
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


def _calls(actor: Actor, turn_id: UUID) -> dict[UUID, str]:
    may_answer = Scope.WRITE in actor.scopes
    return {
        call.id: render_to_string("chat/call.html", {"call": call, "may_answer": may_answer})
        for call in transcript.calls(actor=actor, turn_id=turn_id)
    }


def _whole(actor: Actor, turn_id: UUID) -> str:
    entry = transcript.answer(actor=actor, turn_id=turn_id)
    may_write = Scope.WRITE in actor.scopes
    facts = {"entry": entry, "may_change": may_write, "may_answer": may_write}
    return render_to_string("chat/answer.html", facts)


def _event(sequence: int, name: str, data: dict[str, Any]) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (sequence, name.encode(), orjson.dumps(data))
