"""What is broken of servers that tenants bring, told to health: by its id and a code, never in their words.

An entry is forgotten after ``REMEMBERED_SECONDS`` in which nobody met the failure again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from somaagent import valkey

from . import keys

REMEMBERED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Broken:
    """``name`` is made of ids alone: ``mcp:TENANT:SERVER``. ``code`` is one of our errors'."""

    name: str
    code: str


async def note_broken(name: str, code: str) -> None:
    """Raises ``valkey.ERRORS``."""
    pipeline = valkey.client().pipeline(transaction=True)
    pipeline.zremrangebyscore(keys.BROKEN, "-inf", time.time() * 1000)
    pipeline.zadd(keys.BROKEN, {name: (time.time() + REMEMBERED_SECONDS) * 1000})
    pipeline.set(keys.why_broken(name), code, px=int(REMEMBERED_SECONDS * 1000))
    await pipeline.execute()


async def note_well(name: str) -> None:
    """Raises ``valkey.ERRORS``."""
    pipeline = valkey.client().pipeline(transaction=True)
    pipeline.zrem(keys.BROKEN, name)
    pipeline.delete(keys.why_broken(name))
    await pipeline.execute()


def broken(client: Any, most: int) -> tuple[list[Broken], int]:
    """The ``most`` that were met last, and how many there are. ``client`` gives text, not bytes."""
    now = f"({time.time() * 1000:.0f}"
    count = int(client.zcount(keys.BROKEN, now, "+inf"))
    names = list(client.zrevrangebyscore(keys.BROKEN, "+inf", now, start=0, num=most))
    codes = client.mget([keys.why_broken(name) for name in names]) if names else []
    return [Broken(name, code or "not known") for name, code in zip(names, codes, strict=True)], count
