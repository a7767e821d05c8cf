"""Stories of a neighbour that keeps failing, and of the breaker that leaves it in peace."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from somaagent import valkey
from somaagent.orchestrator.adapters import Breakers
from somaagent.orchestrator.registry import NotHealthy
from somaagent.resilience import keys
from somaagent.resilience.breaker import CircuitBreaker, CircuitOpen, Verdict
from somaagent.resilience.breaker_store import State
from somaagent.resilience.operators import breaker_close, breaker_states

LONG = 600.0


class BrokenError(Exception):
    """What the neighbour answers."""


class MistakenError(Exception):
    """What the neighbour says of a wrong question."""


class LimitedError(Exception):
    """What never reached the neighbour."""


def judge(error: Exception) -> Verdict:
    known = {BrokenError: Verdict.FAILED, MistakenError: Verdict.ANSWERED}
    return known.get(type(error), Verdict.UNKNOWN)


async def call(breaker: CircuitBreaker, answer: type[Exception] | None = None) -> str:
    try:
        async with breaker.guard():
            if answer is not None:
                raise answer
    except CircuitOpen:
        return "refused"
    except (BrokenError, MistakenError, LimitedError) as error:
        return type(error).__name__
    return "well"


async def time_passes(name: str) -> None:
    """So much that a breaker lets a trial through, or another one."""
    await valkey.client().hset(keys.breaker(name), "until", 0)


def state(name: str) -> State:
    return breaker_states([name])[name]


def counted(metric: str, name: str) -> float | None:
    return REGISTRY.get_sample_value(metric, {"breaker": name})


async def test_it_opens_after_failures_in_a_row_lets_one_trial_through_and_closes_again(name):
    breaker = CircuitBreaker(name, failures=3, seconds=LONG, judge=judge)
    asked = [
        await call(breaker, answer) for answer in (BrokenError, BrokenError, None, BrokenError, BrokenError)
    ]
    assert asked == ["BrokenError", "BrokenError", "well", "BrokenError", "BrokenError"]
    assert state(name) is State.CLOSED
    assert counted("soma_breaker_state", name) is None

    assert await call(breaker, BrokenError) == "BrokenError"
    assert state(name) is State.OPEN
    with pytest.raises(CircuitOpen, match="has failed too often") as refused:
        async with breaker.guard():
            raise AssertionError(name)
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= LONG
    assert counted("soma_breaker_state", name) == 2
    assert counted("soma_breaker_opened_total", name) == 1
    assert counted("soma_breaker_refused_total", name) == 1

    await time_passes(name)
    assert await call(breaker, BrokenError) == "BrokenError"
    assert await call(breaker) == "refused"
    assert counted("soma_breaker_opened_total", name) == 2

    await time_passes(name)
    assert await call(breaker) == "well"
    assert state(name) is State.CLOSED
    assert counted("soma_breaker_state", name) == 0
    assert [await call(breaker, BrokenError) for _ in range(2)] == ["BrokenError", "BrokenError"]
    assert await call(breaker) == "well"


async def test_the_time_that_it_stays_open_is_the_one_it_was_given(name):
    breaker = CircuitBreaker(name, failures=1, seconds=0.2, judge=judge)
    await call(breaker, BrokenError)
    await asyncio.sleep(0.2)
    assert await call(breaker) == "well"


async def test_failures_at_the_same_time_are_all_counted_and_open_it_once(name):
    breaker = CircuitBreaker(name, failures=4, seconds=60)
    together = asyncio.Barrier(4)

    @breaker
    async def fails() -> None:
        await together.wait()
        raise BrokenError

    outcomes = await asyncio.gather(*(fails() for _ in range(4)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BrokenError] * 4
    assert state(name) is State.OPEN
    assert counted("soma_breaker_opened_total", name) == 1


async def test_of_all_who_come_when_its_time_is_over_one_is_the_trial(name):
    breaker = CircuitBreaker(name, failures=1, seconds=LONG, judge=judge)
    await call(breaker, BrokenError)
    await time_passes(name)
    all_came = asyncio.Barrier(20)

    async def trial() -> str:
        try:
            async with breaker.guard():
                await all_came.wait()
        except CircuitOpen:
            await all_came.wait()
            return "refused"
        return "well"

    outcomes = await asyncio.gather(*(trial() for _ in range(20)))
    assert sorted(outcomes) == ["refused"] * 19 + ["well"]
    assert state(name) is State.CLOSED


async def test_a_trial_that_says_nothing_makes_room_for_the_next_at_once(name):
    breaker = CircuitBreaker(name, failures=1, seconds=LONG, judge=judge)
    await call(breaker, BrokenError)
    await time_passes(name)
    assert await call(breaker, LimitedError) == "LimitedError"
    assert state(name) is State.HALF_OPEN
    assert counted("soma_breaker_state", name) == 1

    begun = asyncio.Event()

    async def endless() -> None:
        async with breaker.guard():
            begun.set()
            await asyncio.Event().wait()

    cancelled = asyncio.create_task(endless())
    await begun.wait()
    assert await call(breaker) == "refused"
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    assert await call(breaker, MistakenError) == "MistakenError"  # an answer, whatever it says
    assert state(name) is State.CLOSED


async def test_a_trial_that_never_ends_makes_room_for_another_when_its_time_is_over(name):
    breaker = CircuitBreaker(name, failures=1, seconds=LONG)
    with pytest.raises(BrokenError):
        async with breaker.guard():
            raise BrokenError
    await time_passes(name)
    async with breaker.guard():
        assert await call(breaker) == "refused"
        await time_passes(name)
        assert await call(breaker) == "well"
    assert state(name) is State.CLOSED


async def test_what_is_no_failure_does_not_count_and_a_cancelled_call_is_none(name):
    breaker = CircuitBreaker(name, failures=1, seconds=60, judge=judge)
    for answer in (MistakenError, LimitedError, MistakenError):
        await call(breaker, answer)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02), breaker.guard():
            await asyncio.sleep(5)
    assert state(name) is State.CLOSED


async def test_a_breaker_decorates_a_coroutine_function(name):
    breaker = CircuitBreaker(name, failures=2, seconds=60)

    @breaker
    async def divided(one: float, *, by: float) -> float:
        """A quotient."""
        return one / by

    assert await divided(6, by=3) == 2
    assert divided.__doc__ == "A quotient."
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await divided(6, by=0)
    with pytest.raises(CircuitOpen):
        await divided(6, by=3)


async def test_another_process_has_the_same_breaker(name, elsewhere):
    assert await call(CircuitBreaker(name, failures=3, seconds=60, judge=judge), BrokenError) == "BrokenError"
    assert await asyncio.to_thread(elsewhere, "breaker", 3, name, 3, 60) == ["failed", "failed", "refused"]
    assert await call(CircuitBreaker(name, failures=3, seconds=60)) == "refused"
    assert counted("soma_breaker_state", name) == 2


def test_another_event_loop_has_the_same_breaker_and_an_operator_closes_it(name):
    breaker = CircuitBreaker(name, failures=1, seconds=60, judge=judge)
    assert asyncio.run(call(breaker, BrokenError)) == "BrokenError"
    assert asyncio.run(call(breaker)) == "refused"
    assert breaker_close(name)
    assert asyncio.run(call(breaker)) == "well"
    assert counted("soma_breaker_state", name) == 0
    assert not breaker_close(name)


def test_health_names_what_is_not_closed_by_its_id_alone(name):
    valkey.blocking_client().delete(keys.NOT_CLOSED)  # other stories may have left some open
    Breakers().check(None)
    _, tenant, profile = name.split(":")
    asyncio.run(call(CircuitBreaker(name, failures=1, seconds=60, judge=judge), BrokenError))
    with pytest.raises(NotHealthy, match=f"Not closed: test {profile}") as told:
        Breakers().check(None)
    assert tenant not in str(told.value)

    others = [f"test:{uuid4()}" for _ in range(11)]
    try:
        for other in others:
            asyncio.run(call(CircuitBreaker(other, failures=1, seconds=60, judge=judge), BrokenError))
        with pytest.raises(NotHealthy, match=r"and 2 more\."):
            Breakers().check(None)
    finally:
        for other in others:
            breaker_close(other)
    breaker_close(name)
    Breakers().check(None)


async def test_an_open_breaker_outlives_a_restart_of_valkey_which_callers_wait_out(name, own_valkey):
    breaker = CircuitBreaker(name, failures=1, seconds=600, judge=judge)
    await call(breaker, BrokenError)
    own_valkey.stop()
    waiting = asyncio.create_task(call(breaker))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await asyncio.to_thread(own_valkey.start)
    assert await waiting == "refused"


@pytest.mark.usefixtures("impatient")
async def test_while_valkey_stays_away_nothing_is_let_through_and_everybody_is_told(name, own_valkey):
    own_valkey.stop()
    errors = "soma_resilience_store_errors_total"
    before = REGISTRY.get_sample_value(errors, {"what": "breaker"}) or 0
    breaker = CircuitBreaker(name, failures=1, seconds=60)
    with pytest.raises(valkey.ERRORS):
        async with breaker.guard():
            raise AssertionError(name)
    assert (REGISTRY.get_sample_value(errors, {"what": "breaker"}) or 0) - before == 1


@pytest.mark.usefixtures("impatient")
async def test_an_outcome_that_cannot_be_told_stands_all_the_same(name, own_valkey):
    breaker = CircuitBreaker(name, failures=5, seconds=60)
    errors = "soma_resilience_store_errors_total"
    before = REGISTRY.get_sample_value(errors, {"what": "breaker"}) or 0

    @breaker
    async def breaks_with_valkey() -> None:
        own_valkey.stop()
        raise BrokenError

    with pytest.raises(BrokenError):
        await breaks_with_valkey()
    assert (REGISTRY.get_sample_value(errors, {"what": "breaker"}) or 0) - before == 1


async def test_what_nobody_asks_for_is_forgotten(name):
    await call(CircuitBreaker(name, failures=2, seconds=60, judge=judge), BrokenError)
    hour, client = 3_600_000, valkey.client()
    assert hour < await client.pttl(keys.breaker(name)) <= hour + 60_000
    await call(CircuitBreaker(name, failures=2, seconds=60, judge=judge), BrokenError)
    assert hour < await client.pttl(keys.breaker(name)) <= hour + 60_000


@pytest.mark.parametrize("wrong", [{"failures": 0, "seconds": 1}, {"failures": 1, "seconds": 0}])
def test_terms_that_make_no_breaker_are_refused(wrong):
    with pytest.raises(ValueError, match="opens after at least one failure"):
        CircuitBreaker("test:wrong", **wrong)
