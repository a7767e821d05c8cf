"""A guard sees each request of its model from beginning to end, however it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from somaagent.agent import failures
from somaagent.agent.failures import ModelError
from somaagent.agent.messages import ModelMessage
from somaagent.agent.models.guarded import GuardedModel
from somaagent.agent.models.retrying import RetryingModel, RetryPolicy
from somaagent.agent.ports import ModelSettings
from tests.unit.agent.conftest import Bench, text_of

QUESTION = [ModelMessage("user", "say: an answer")]


@dataclass
class Guard:
    """Lets ``lets`` requests through, and notes how each of them ended."""

    lets: int = 10
    ended: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        if not self.lets:
            raise failures.circuit_open(7.2)
        self.lets -= 1
        try:
            yield
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        self.ended.append("well")


async def answer(model: GuardedModel | RetryingModel) -> str:
    async with aclosing(model.stream(QUESTION, settings=ModelSettings())) as chunks:
        return text_of([chunk async for chunk in chunks])


async def test_each_request_has_a_guard_of_its_own_and_retries_are_requests(bench: Bench):
    guard = Guard()
    await bench.script("fail 500")
    told: list[float] = []
    model = GuardedModel(bench.model(), guard)
    patient = RetryingModel(model, RetryPolicy(1, 0.05), on_retry=lambda _, wait: told.append(wait))
    assert await answer(patient) == "an answer"
    assert guard.ended == ["ModelError", "well"]
    assert len(told) == 1


async def test_who_is_not_let_through_does_not_reach_the_server_and_is_not_sent_again(bench: Bench):
    guard = Guard(lets=0)
    model = GuardedModel(bench.model(), guard)
    patient = RetryingModel(model, RetryPolicy(5, 60), on_retry=lambda error, _: pytest.fail(error.code))
    with pytest.raises(ModelError, match="Try again in 8 seconds") as refused:
        await answer(patient)
    assert (refused.value.code, refused.value.retry_after) == ("model_circuit_open", 7.2)
    assert failures.is_retryable(refused.value)
    assert await bench.requests() == []


async def test_a_listener_who_leaves_ends_the_request_and_then_its_guard(bench: Bench):
    guard = Guard()
    await bench.script("slow 0.02: one two three four five six seven eight nine ten")
    model = GuardedModel(bench.model(), guard)
    async with aclosing(model.stream(QUESTION, settings=ModelSettings())) as chunks:
        await anext(chunks)
    assert guard.ended == ["GeneratorExit"]


@pytest.mark.parametrize(
    ("wait", "when"), [(None, "in a moment"), (0.2, "in 1 second"), (1.2, "in 2 seconds")]
)
def test_refusals_of_our_own_say_when_to_come_back(wait: float | None, when: str):
    assert f"Try again {when}" in failures.circuit_open(wait).message
    assert failures.over_own_rate(3, wait).message.endswith(f"Try again {when}.")
