"""Another process with the same breaker or rate limit: ``python -m tests.integration.resilience.elsewhere``
and ``breaker TIMES NAME FAILURES SECONDS``, which fails so often, or ``limit TIMES NAME CALLS SECONDS``,
which asks so often. It prints what became of each, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

import django

django.setup()

from somaagent.resilience.breaker import CircuitBreaker, CircuitOpen  # noqa: E402 - after the settings
from somaagent.resilience.limiter import Rate, RateLimited, SharedRateLimiter  # noqa: E402 - as above


async def fail(name: str, failures: str, seconds: str) -> str:
    @CircuitBreaker(name, failures=int(failures), seconds=float(seconds))
    async def failing() -> None:
        raise RuntimeError(name)

    try:
        await failing()
    except CircuitOpen:
        return "refused"
    except RuntimeError:
        return "failed"
    return "well"


async def ask(name: str, calls: str, seconds: str) -> str:
    try:
        await SharedRateLimiter(name, Rate(int(calls), int(seconds))).acquire()
    except RateLimited:
        return "refused"
    return "counted"


async def main(what: str, times: str, *facts: str) -> None:
    do = fail if what == "breaker" else ask
    print(json.dumps([await do(*facts) for _ in range(int(times))]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
