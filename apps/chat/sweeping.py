"""What is told of a sweep once it is committed: to the workers, and to those who follow a turn that ended."""

from __future__ import annotations

from uuid import UUID

import structlog

from somaagent.agent.events import TurnCancelled, TurnFailed
from somaagent.background import run_coroutine
from somaagent.errors import Kind, SomaError

from . import handover, stream
from .hosting import Swept

logger = structlog.get_logger(__name__)


def tell(tenant_id: UUID, swept: Swept) -> None:
    """Blocking. Raises ``valkey.ERRORS``: the next sweep finds turns that no worker was told of."""
    for turn_id in swept.waiting:
        logger.warning("turn.waited", turn_id=str(turn_id))
        handover.to_workers(turn_id, tenant_id)
    for turn_id in swept.cancelled:
        run_coroutine(stream.conclude(turn_id, TurnCancelled()))
    for turn_id in swept.lost:
        logger.error("turn.host_lost", turn_id=str(turn_id))
        run_coroutine(stream.conclude(turn_id, TurnFailed.of(_lost())))


def _lost() -> SomaError:
    return SomaError(Kind.UNAVAILABLE, "host_lost", "The servers that were answering stopped. Try again.")
