"""What is told of a sweep once it is committed: to the workers, and to those who follow a turn that ended."""

from __future__ import annotations

from uuid import UUID

import structlog

from somaagent.background import run_coroutine

from . import handover, stream
from .ended import last_event
from .hosting import Swept
from .models import TurnState

logger = structlog.get_logger(__name__)


def tell(tenant_id: UUID, swept: Swept) -> None:
    """Blocking. Raises ``valkey.ERRORS``: the next sweep finds turns that no worker was told of."""
    for turn_id in swept.waiting:
        logger.warning("turn.waited", turn_id=str(turn_id))
        handover.to_workers(turn_id, tenant_id)
    for turn in swept.over:
        if turn.state == TurnState.FAILED:
            logger.error("turn.host_lost", turn_id=str(turn.id))
        run_coroutine(stream.conclude(turn.id, last_event(turn)))
