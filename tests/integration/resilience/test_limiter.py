"""Stories of calls that come too often."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY

from somaagent import valkey
from somaagent.resilience import keys
from somaagent.resilience.limiter import LocalRateLimiter, Rate, RateLimited, RateLimiter, SharedRateLimiter

both = pytest.mark.parametrize("kind", [LocalRateLimiter, SharedRateLimiter])


async def asked(limiter: RateLimiter, patience: float = 0.0) -> bool:
    try:
        await limiter.acquire(patience)
    except RateLimited:
        return False
    return True


def counted(metric: str, name: str) -> float | None:
    return REGISTRY.get_sample_value(metric, {"limit": name})


@both
async def test_so_many_are_let_through_and_the_next_is_told_when_to_come_back(kind, name):
    limiter = kind(name, Rate(3, 60))
    assert [await asked(limiter) for _ in range(3)] == [True] * 3
    with pytest.raises(RateLimited, match="No more than 3 calls in 60 seconds") as refused:
        await limiter.acquire()
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 60.1
    assert not await asked(limiter, patience=5), "a wait that would be longer is not begun"
    assert (counted("soma_rate_limited_total", name), counted("soma_rate_limit_waits_total", name)) == (
        2,
        None,
    )
    assert await asked(kind(f"{name}-other", Rate(3, 60)))


@both
async def test_who_has_patience_is_let_through_when_there_is_room(kind, name):
    limiter = kind(name, Rate(1, 1))
    assert await asked(limiter)
    assert await asked(limiter, patience=10)
    assert counted("soma_rate_limit_waits_total", name) == 1


@both
async def test_never_more_at_once_and_those_who_wait_go_in_the_order_in_which_they_came(kind, name):
    limiter = kind(name, Rate(3, 1))
    clock = asyncio.get_running_loop().time
    went: list[tuple[int, float]] = []

    async def go(number: int) -> None:
        await limiter.acquire(30)
        went.append((number, clock()))

    tasks = []
    for number in range(8):
        tasks.append(asyncio.create_task(go(number)))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert [number for number, _ in went] == list(range(8))
    moments = [moment for _, moment in went]
    # A call is counted a moment before its caller is told.
    assert all(later - earlier > 0.8 for earlier, later in zip(moments, moments[3:], strict=False))


@both
async def test_who_is_cancelled_or_out_of_patience_while_waiting_holds_nobody_up(kind, name):
    limiter = kind(name, Rate(1, 2))
    assert await asked(limiter)
    head = asyncio.create_task(limiter.acquire(30))
    await asyncio.sleep(0.05)
    hasty = asyncio.create_task(asked(limiter, patience=0.1))
    last = asyncio.create_task(asked(limiter, patience=30))
    assert not await hasty
    head.cancel()
    await asyncio.gather(head, return_exceptions=True)
    assert await last


async def test_another_process_counts_with_us(name, elsewhere):
    limiter = SharedRateLimiter(name, Rate(5, 60))
    assert [await asked(limiter) for _ in range(2)] == [True] * 2
    said = await asyncio.to_thread(elsewhere, "limit", 4, name, 5, 60)
    assert said == ["counted"] * 3 + ["refused"]
    assert not await asked(limiter)


async def test_hundreds_at_once_are_counted_one_by_one(name):
    limiter = SharedRateLimiter(name, Rate(50, 60))
    outcomes = await asyncio.gather(*(asked(limiter, patience=0.5) for _ in range(200)))
    assert sum(outcomes) == 50


def test_event_loops_share_what_is_shared_and_nothing_else(name):
    shared, local = SharedRateLimiter(name, Rate(1, 60)), LocalRateLimiter(name, Rate(1, 60))
    assert [asyncio.run(asked(limiter)) for limiter in (shared, shared, local, local)] == [
        True,
        False,
        True,
        True,
    ]


async def test_the_count_is_kept_where_all_our_keys_are_and_runs_out(name):
    await SharedRateLimiter(name, Rate(5, 60)).acquire()
    [key] = [key async for key in valkey.client().scan_iter(f"{keys.RATES}:*{name}*")]
    assert 0 < await valkey.client().ttl(key) <= 60


async def test_a_restart_of_valkey_is_waited_out_and_the_count_outlives_it(name, own_valkey):
    limiter = SharedRateLimiter(name, Rate(1, 60))
    assert await asked(limiter)
    own_valkey.stop()
    waiting = asyncio.create_task(asked(limiter))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await asyncio.to_thread(own_valkey.start)
    assert not await waiting


@pytest.mark.usefixtures("impatient")
async def test_while_valkey_stays_away_nothing_is_let_through(name, own_valkey):
    own_valkey.stop()
    errors = "soma_resilience_store_errors_total"
    before = REGISTRY.get_sample_value(errors, {"what": "rate_limit"}) or 0
    with pytest.raises(valkey.ERRORS):
        await SharedRateLimiter(name, Rate(1, 60)).acquire(patience=1)
    assert (REGISTRY.get_sample_value(errors, {"what": "rate_limit"}) or 0) - before == 1


@pytest.mark.parametrize("wrong", [(0, 60), (5, 0)])
def test_what_is_no_rate_is_refused(wrong):
    with pytest.raises(ValueError, match="at least one call"):
        Rate(*wrong)
