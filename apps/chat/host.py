"""A process as a host: turns are asyncio tasks, in a gateway beside its requests, in a worker alone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import structlog

from somaagent.tenancy.scope import in_database

from . import handover, stream
from .keeping import Keeping
from .runner import Ran, run_turn, run_work
from .work import Work

logger = structlog.get_logger(__name__)

# A turn mostly waits for its model. More than this, and a worker leaves them to others.
MOST_TURNS = 200

_running: set[asyncio.Task[None]] = set()


def start(turn_id: UUID, tenant_id: UUID) -> None:
    """Run a turn in this process, and after it those that wait in its session. Returns at once; they outlive
    the request that began them.
    """
    _start(run_turn(turn_id, tenant_id), turn_id, tenant_id)


def start_work(work: Work, keeping: Keeping | None = None) -> None:
    """``start``, with a turn that this process takes as it is submitted. ``keeping``: its rows are on their
    way; nobody is told anything before they are kept, and nothing if they are not.
    """
    stream.open_tap(work.turn_id)
    _start(run_work(work, keeping), work.turn_id, work.tenant_id)


def _start(run: Coroutine[Any, Any, Ran], turn_id: UUID, tenant_id: UUID) -> None:
    task = asyncio.create_task(_host(run, turn_id, tenant_id), name=f"turn {turn_id}")
    _running.add(task)
    task.add_done_callback(_ended)
    # Also where it is cancelled before it begins.
    task.add_done_callback(lambda _: stream.close_tap(turn_id))


async def start_when_free(turn_id: UUID, tenant_id: UUID) -> None:
    """``start``, as soon as this process runs fewer than ``MOST_TURNS``."""
    while len(_running) >= MOST_TURNS:
        await asyncio.wait(_running, return_when=asyncio.FIRST_COMPLETED)
    start(turn_id, tenant_id)


async def idle() -> None:
    """Returns when no turn runs in this process."""
    while _running:
        await asyncio.wait(_running)


async def _host(run: Coroutine[Any, Any, Ran], turn_id: UUID, tenant_id: UUID) -> None:
    try:
        ran = await run
    finally:
        stream.close_tap(turn_id)
    while ran.following is not None:
        turn_id = ran.following
        ran = await run_turn(turn_id, tenant_id)
    if ran.given_back:
        await in_database(handover.to_workers, turn_id, tenant_id)


def _ended(task: asyncio.Task[None]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        # The turn stays queued or leased in its row: the scheduler's sweep finds it.
        logger.error("turn.host_failed", task=task.get_name(), exc_info=error)


async def drain(seconds: float) -> None:
    """Let running turns go on for ``seconds``, then hand the rest over to the workers."""
    running = set(_running)
    if not running:
        return
    logger.info("turns.draining", turns=len(running), seconds=seconds)
    _, late = await asyncio.wait(running, timeout=seconds)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    logger.info("turns.drained", given_back=len(late))
