"""What an operator sees of breakers, and how one is closed by hand. For code that has no event loop."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from somaagent import valkey

from . import breaker_scripts, keys
from .breaker_store import State, Terms, note

logger = structlog.get_logger(__name__)


def breaker_states(names: Sequence[str]) -> dict[str, State]:
    """The states of these breakers, in one question. Raises ``valkey.ERRORS``."""
    with valkey.blocking_client().pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.hget(keys.breaker(name), "state")
        found = pipeline.execute()
    return {
        name: State(state.decode()) if state else State.CLOSED
        for name, state in zip(names, found, strict=True)
    }


def breaker_close(name: str) -> bool:
    """Let everybody in again; False where the breaker was closed. Raises ``valkey.ERRORS``."""
    terms = Terms(name, failures=1, seconds=0)
    close = valkey.blocking_client().register_script(breaker_scripts.CLOSE)
    changed = bool(close(keys=terms.keys(), args=terms.arguments()))
    note(name, State.CLOSED)
    if changed:
        logger.info("breaker.closed", breaker=name, by="an operator")
    return changed
