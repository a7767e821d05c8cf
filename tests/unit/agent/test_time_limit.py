"""One limit for many waits: a model that writes a token at a time, and then writes no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from somaagent.agent.time_limit import LimitReached, TimeLimit

SOON = 0.05


@pytest.fixture
async def limit() -> AsyncIterator[TimeLimit]:
    with closing(TimeLimit()) as made:
        yield made


def at(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_waits_that_are_each_in_time_may_take_longer_together(limit):
    for number in range(5):
        assert await limit.within(at(2 * SOON), asyncio.sleep(SOON, number)) == number


async def test_a_wait_that_is_late_ends_and_the_task_goes_on(limit):
    assert await limit.within(at(60), asyncio.sleep(0, "early")) == "early"
    for _ in range(2):
        with pytest.raises(LimitReached):
            await limit.within(at(SOON), asyncio.sleep(60))
        await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0


async def test_what_is_between_the_waits_has_no_limit(limit):
    await limit.within(at(SOON), asyncio.sleep(0))
    await asyncio.sleep(3 * SOON)
    assert await limit.within(at(60), asyncio.sleep(SOON, "done")) == "done"


async def test_what_is_there_already_is_given_however_late(limit):
    async def there() -> str:
        return "done"

    assert await limit.within(at(-1), there()) == "done"


async def test_errors_of_what_is_awaited_are_its_own(limit):
    async def fail() -> None:
        raise TimeoutError("somebody else's")

    with pytest.raises(TimeoutError, match="somebody else's") as told:
        await limit.within(at(60), fail())
    assert not isinstance(told.value, LimitReached)


async def test_who_is_cancelled_at_the_same_time_is_cancelled(limit):
    async def wait() -> None:
        await limit.within(until, asyncio.sleep(60))

    until = at(SOON)
    task = asyncio.create_task(wait())
    asyncio.get_running_loop().call_at(until, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_closed_limit_keeps_no_timer():
    limit = TimeLimit()
    await limit.within(at(SOON), asyncio.sleep(0))
    limit.close()
    await asyncio.sleep(2 * SOON)
    assert await limit.within(at(60), asyncio.sleep(0, "done")) == "done"
    limit.close()
