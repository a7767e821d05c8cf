"""Where Valkey keeps breakers, rate limits and what is broken.

Names are made of ids alone: health and metrics show them.
"""

from __future__ import annotations

RATES = "soma:rate"
# A sorted set: the names of the breakers that are not closed, by the moment (ms) at which they are forgotten.
NOT_CLOSED = "soma:breakers"

# The same of servers that are broken (``broken``).
BROKEN = "soma:broken"


def why_broken(name: str) -> str:
    """The code of what was met last."""
    return f"soma:broken:{name}"


def breaker(name: str) -> str:
    """The hash of one breaker: ``state``, ``failures`` in a row, ``until`` (ms) when a trial may go."""
    return f"soma:breaker:{name}"


def shown(name: str) -> str:
    """A breaker's name where anybody may read it: ``model:TENANT:PROFILE`` as ``model PROFILE``."""
    kind, _, rest = name.partition(":")
    return f"{kind} {rest.rpartition(':')[2]}" if rest else kind
