"""Stories of texts that become vectors, over HTTP, with a server that behaves well and badly."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from somaagent.agent.failures import ModelError
from somaagent.agent.messages import Usage
from somaagent.agent.models.connection import Timeouts
from somaagent.agent.models.embeddings import OpenAIEmbeddings, RetryingEmbeddings
from somaagent.agent.models.retrying import RetryPolicy
from somaagent.errors import SomaError
from tests.model_vectors import vector
from tests.unit.agent.conftest import KEY, QUICK, Bench


def model(bench: Bench, **changes) -> OpenAIEmbeddings:
    chosen: dict[str, Any] = {
        "base_url": f"{bench.url}/v1",
        "model": "scripted",
        "api_key": KEY,
        "session": bench.session,
        "timeouts": QUICK,
    }
    return OpenAIEmbeddings(**(chosen | changes))


@pytest.mark.parametrize("exact", [True, False])
async def test_each_text_gets_its_vector(bench: Bench, exact):
    texts = ["the first text", "another"]
    given = await model(bench).embed(texts, exact=exact)
    assert [one.tolist() for one in given.vectors] == [vector(text) for text in texts]
    assert given.usage == Usage(input_tokens=4)
    (asked,) = await bench.requests()
    assert asked["body"] == {
        "model": "scripted",
        "input": texts,
        "encoding_format": "float" if exact else "base64",
    }
    assert asked["authorization"] == f"Bearer {KEY}"


async def test_tokens_and_the_wanted_length_are_passed_on(bench: Bench):
    given = await model(bench).embed([[1, 2, 3]], dimensions=3)
    assert given.vectors[0].tolist() == vector([1, 2, 3], 3)
    (asked,) = await bench.requests()
    assert (asked["body"]["input"], asked["body"]["dimensions"]) == ([[1, 2, 3]], 3)


async def test_vectors_are_put_in_the_order_of_their_texts(bench: Bench):
    given = await model(bench).embed(["wrong: order", "two", "three"])
    assert given.vectors[2].tolist() == vector("three")


async def test_a_server_that_knows_no_base64_is_understood(bench: Bench):
    given = await model(bench).embed(["wrong: list"])
    assert given.vectors[0].tolist() == vector("wrong: list")


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ("wrong: short", "model_garbled"),
        ("wrong: uneven", "model_garbled"),
        ("wrong: letters", "model_garbled"),
        ("page", "model_garbled"),
        ("noise", "model_garbled"),
        ("fail 500", "model_failed"),
        ("fail 400", "model_refused_request"),
        ("fail 404", "model_not_found"),
        ("fail 408", "model_timeout"),
        ("fail 429 3", "model_rate_limited"),
        ("redirect", "model_refused_request"),
    ],
)
async def test_a_server_that_fails(bench: Bench, told, code):
    with pytest.raises(ModelError) as failed:
        await model(bench).embed([told, "another"])
    assert failed.value.code == code
    assert KEY not in failed.value.message


async def test_a_server_that_hangs_and_one_that_is_not_there(bench: Bench):
    with pytest.raises(SomaError) as late:
        await model(bench, timeouts=Timeouts(2, 0.2, 0.2)).embed(["hang"])
    assert late.value.code == "model_timeout"
    await bench.seen("disconnected")
    with pytest.raises(SomaError) as away:
        await model(bench, base_url="http://model.invalid/v1").embed(["hi"])
    assert away.value.code == "model_unreachable"
    with pytest.raises(SomaError) as refused:
        await model(bench, api_key="another").embed(["hi"])
    assert refused.value.code == "model_refused_key"


async def test_who_stops_waiting_stops_the_server(bench: Bench):
    waiting = asyncio.create_task(model(bench).embed(["hang"]))
    await bench.seen("open")
    waiting.cancel()
    await bench.seen("disconnected")


async def test_it_is_asked_again_while_that_may_help(bench: Bench):
    waits: list[str] = []
    patient = RetryingEmbeddings(
        model(bench), RetryPolicy(2, 1.0, 0.01), on_retry=lambda error, _: waits.append(error.code)
    )
    await bench.script("fail 503", "fail 429 0", "say: well")
    assert (await patient.embed(["hi"])).vectors[0].tolist() == vector("hi")
    assert waits == ["model_failed", "model_rate_limited"]
    with pytest.raises(ModelError):
        await patient.embed(["fail 400"])
    await bench.script("fail 429 60")
    with pytest.raises(ModelError) as busy:
        await patient.embed(["hi"])
    assert busy.value.retry_after == 60
    assert len(waits) == 2
