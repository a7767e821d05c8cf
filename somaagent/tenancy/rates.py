"""How often may be asked: by an API key, and by a whole tenant."""

from __future__ import annotations

from somaagent.resilience.limiter import Rate, SharedRateLimiter

from .actor import Actor


async def admit(actor: Actor) -> None:
    """Count a request of the actor's key and tenant. Raises ``rate_limited`` where it is one too many in a
    minute, and ``valkey.ERRORS``: a request that cannot be counted is not let in.
    """
    if actor.key_rate is not None:
        await SharedRateLimiter(f"key:{actor.key_id}", Rate(actor.key_rate)).acquire()
    if actor.tenant_rate is not None:
        await SharedRateLimiter(f"tenant:{actor.tenant_id}", Rate(actor.tenant_rate)).acquire()


def is_limited(actor: Actor | None) -> bool:
    """Whether ``admit`` has anything to count."""
    return actor is not None and (actor.key_rate is not None or actor.tenant_rate is not None)
