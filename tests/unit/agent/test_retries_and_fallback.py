"""Stories of models that fail before they answer: asked again, and then another in their place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest

from somaagent.agent.failures import ModelError
from somaagent.agent.messages import ModelMessage
from somaagent.agent.models.anthropic import Anthropic
from somaagent.agent.models.connection import Timeouts
from somaagent.agent.models.fallback import Candidate, FallbackModel
from somaagent.agent.models.retrying import RetryingModel, RetryPolicy
from somaagent.agent.models.session import open_session
from somaagent.agent.ports import ChatModel, ModelChunk, ModelSettings
from tests import model_server
from tests.unit.agent.conftest import KEY, Bench, text_of
from tests.unit.agent.raw import close, raw_server

HASTY = Timeouts(connect=2, first_token=1, idle=0.3)
TWICE = RetryPolicy(retries=2, longest_wait=0.5, first_wait=0.02)
QUESTION = [ModelMessage("user", "say: an answer")]


@dataclass
class Story:
    """What the wrappers told, beside what was answered."""

    waits: list[float] = field(default_factory=list)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    failures: list[tuple[str, str, str | None]] = field(default_factory=list)

    def retried(self, error: ModelError, wait: float) -> None:
        del error
        self.waits.append(wait)
        self.waiting.set()

    def failed(self, candidate: Candidate, error: ModelError, following: Candidate | None) -> None:
        self.failures.append((candidate.name, error.code, following.name if following else None))

    def patient(self, model: ChatModel, policy: RetryPolicy = TWICE) -> RetryingModel:
        return RetryingModel(model, policy, on_retry=self.retried)

    def either(self, **benches: Bench) -> FallbackModel:
        """The first of these that answers; each is asked once and then, where it makes sense, twice more."""

        def candidate(name: str, bench: Bench) -> Candidate:
            async def opened() -> ChatModel:
                return self.patient(bench.model(timeouts=HASTY))

            return Candidate(name, opened, lambda _: ModelSettings(max_output_tokens=len(name)))

        return FallbackModel(
            [candidate(name, bench) for name, bench in benches.items()], on_failure=self.failed
        )


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
async def other() -> AsyncIterator[Bench]:
    """A second model server, which speaks the other protocol."""
    async with model_server.serve(KEY) as url, open_session() as session:
        yield Bench(url, session, Anthropic)


async def listen(model: ChatModel, heard: list[ModelChunk]) -> None:
    async with aclosing(model.stream(QUESTION, settings=ModelSettings())) as stream:
        async for chunk in stream:
            heard.append(chunk)  # noqa: PERF401 - what was heard before a failure counts


async def answer(model: ChatModel) -> list[ModelChunk]:
    heard: list[ModelChunk] = []
    await listen(model, heard)
    return heard


async def told_to(bench: Bench) -> list[str]:
    return [seen["told"] for seen in await bench.requests()]


@pytest.mark.parametrize(
    "fault", ["fail 429", "fail 500", "fail 503", "fail 504", "fail 408", "error: overloaded", "cut after 0"]
)
async def test_a_server_that_fails_for_a_moment_is_asked_again(bench: Bench, story: Story, fault: str):
    await bench.script(fault, fault)
    assert text_of(await answer(story.patient(bench.model(timeouts=HASTY)))) == "an answer"
    assert await told_to(bench) == [fault, fault, "say: an answer"]
    assert len(story.waits) == 2
    assert story.waits[0] <= 0.02
    assert story.waits[1] <= 0.04


@pytest.mark.parametrize(
    "fault",
    ["fail 400", "fail 401", "fail 403", "fail 404", "redirect", "garbage", "noise", "page", "hang"],
)
async def test_what_would_only_fail_again_is_not_asked_again(bench: Bench, story: Story, fault: str):
    await bench.script(fault)
    with pytest.raises(ModelError):
        await answer(story.patient(bench.model(timeouts=HASTY)))
    assert await told_to(bench) == [fault]


@pytest.mark.parametrize("fault", ["cut after 2", "hang after 2", "mull"])
async def test_nothing_is_asked_again_once_the_model_has_begun(
    bench: Bench, other: Bench, story: Story, fault: str
):
    await bench.script(fault)
    heard: list[ModelChunk] = []
    with pytest.raises(ModelError) as caught:
        await listen(story.either(first=bench, second=other), heard)
    assert heard
    assert await told_to(bench) == [fault]
    assert await told_to(other) == []
    assert story.failures == [("first", caught.value.code, None)]


async def test_the_server_s_retry_after_is_honoured(bench: Bench, story: Story):
    await bench.script("fail 429 1")
    begun = time.monotonic()
    policy = replace(TWICE, longest_wait=1.05)
    assert text_of(await answer(story.patient(bench.model(), policy))) == "an answer"
    assert time.monotonic() - begun >= 1
    assert 1 <= story.waits[0] <= 1.05


async def test_a_server_that_wants_more_time_than_there_is_is_left_alone(bench: Bench, story: Story):
    await bench.script("fail 429 60")
    with pytest.raises(ModelError) as caught:
        await answer(story.patient(bench.model()))
    assert (caught.value.code, caught.value.retry_after) == ("model_rate_limited", 60)
    assert await told_to(bench) == ["fail 429 60"]


async def test_a_profile_may_want_no_retries(bench: Bench, story: Story):
    await bench.script("fail 500")
    with pytest.raises(ModelError):
        await answer(story.patient(bench.model(), RetryPolicy(retries=0, longest_wait=1)))
    assert await told_to(bench) == ["fail 500"]


async def test_whoever_stops_listening_ends_the_waiting_too(bench: Bench, story: Story):
    await bench.script("fail 500")
    long = RetryPolicy(retries=5, longest_wait=3600, first_wait=3600)
    task = asyncio.create_task(answer(story.patient(bench.model(), long)))
    await story.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await told_to(bench) == ["fail 500"]


async def test_another_model_answers_when_the_retries_are_used_up(bench: Bench, other: Bench, story: Story):
    await bench.script("fail 503", "fail 503", "fail 503")
    assert text_of(await answer(story.either(first=bench, second=other))) == "an answer"
    assert await told_to(bench) == ["fail 503"] * 3
    [asked] = await other.requests()
    assert asked["body"]["max_tokens"] == len("second")  # it is asked with settings of its own
    assert story.failures == [("first", "model_failed", "second")]


@pytest.mark.parametrize(
    ("fault", "code"),
    [("fail 401", "model_refused_key"), ("hang", "model_timeout"), ("page", "model_garbled")],
)
async def test_another_model_answers_for_one_that_is_not_worth_asking_again(
    bench: Bench, other: Bench, story: Story, fault: str, code: str
):
    await bench.script(fault)
    assert text_of(await answer(story.either(first=bench, second=other))) == "an answer"
    assert (await told_to(bench), story.failures) == ([fault], [("first", code, "second")])


async def test_a_model_that_answers_is_the_only_one_that_is_asked(bench: Bench, other: Bench, story: Story):
    assert text_of(await answer(story.either(first=bench, second=other))) == "an answer"
    assert (await told_to(other), story.failures, story.waits) == ([], [], [])


async def test_when_everything_is_down_the_last_reason_is_told(bench: Bench, other: Bench, story: Story):
    await bench.script(*["fail 500"] * 3)
    await other.script("fail 429 60")
    async with raw_server(lambda reader, writer: close(writer)) as url:
        gone = replace(bench, url=url.removesuffix("/v1"))
    with pytest.raises(ModelError) as caught:
        await answer(story.either(first=bench, gone=gone, other=other))
    assert [failure[1] for failure in story.failures] == [
        "model_failed",
        "model_unreachable",
        "model_rate_limited",
    ]
    assert (caught.value.code, caught.value.retry_after) == ("model_rate_limited", 60)
    assert caught.value.message == (
        "None of 3 models answers. The last one, other: "
        "The model server takes no more requests now. Try again in 60 seconds."
    )
    assert len(story.waits) == 4


async def test_a_model_without_a_fallback_fails_with_its_own_words(bench: Bench, story: Story):
    await bench.script("fail 401")
    with pytest.raises(ModelError) as caught:
        await answer(story.either(only=bench))
    assert caught.value.message.startswith("The model server refused the key")
    assert story.failures == [("only", "model_refused_key", None)]
