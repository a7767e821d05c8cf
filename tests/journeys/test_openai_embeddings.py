"""A program written for OpenAI's API has texts embedded: only its base URL and its key are ours."""

from __future__ import annotations

import time

import openai
import pytest
import requests

from tests.journeys.openai_program import AGENT, embedding_profile, key_that_only_reads, user
from tests.model_vectors import vector

pytestmark = pytest.mark.django_db(transaction=True)

MODEL = "embedder"


@pytest.fixture(scope="module", autouse=True)
def profile(gateway):
    gateway.in_database(lambda: embedding_profile(gateway.model.base_url, MODEL))


@pytest.fixture
def sized(gateway):
    gateway.in_database(lambda: embedding_profile(gateway.model.base_url, "sized", dimensions=8))
    return "sized"


def test_the_client_gets_the_model_s_vectors(gateway, client):
    answer = client.embeddings.create(model=MODEL, input=["the first text", "another"], user="u")
    assert (answer.object, answer.model) == ("list", MODEL)
    assert [item.index for item in answer.data] == [0, 1]
    assert [item.embedding for item in answer.data] == [vector("the first text"), vector("another")]
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (4, 4)
    (asked,) = [request["body"] for request in gateway.model.requests()]
    assert asked == {
        "model": "vectors",
        "input": ["the first text", "another"],
        "encoding_format": "base64",
    }, "the client asks for base64 by itself, and reads it"


async def test_the_asynchronous_client_does_the_same(gateway, key):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key) as client:
        answer = await client.embeddings.create(model=MODEL, input="one text")
        numbers = await client.embeddings.create(model=MODEL, input="one text", encoding_format="float")
        ids = [model.id async for model in client.models.list()]
    assert answer.data[0].embedding == numbers.data[0].embedding == vector("one text")
    assert {AGENT, MODEL} <= set(ids)


def test_tokens_and_shorter_vectors(client):
    one = client.embeddings.create(model=MODEL, input=[5, 6, 7], dimensions=4)
    many = client.embeddings.create(model=MODEL, input=[[5, 6, 7], [8]], encoding_format="float")
    assert [item.embedding for item in one.data] == [vector([5, 6, 7], 4)]
    assert [item.embedding for item in many.data] == [vector([5, 6, 7]), vector([8])]


def test_models_are_listed_after_the_agents_and_say_what_they_are(client):
    listed = list(client.models.list())
    owners = [model.owned_by for model in listed]
    assert owners == sorted(owners), "agents first"
    (ours,) = [model for model in listed if model.id == MODEL]
    assert (ours.object, ours.owned_by) == ("model", "somaagent-embeddings")
    assert abs(ours.created - time.time()) < 24 * 3600
    assert client.models.retrieve(MODEL) == ours


@pytest.mark.parametrize("name", [AGENT, "scripted", "nobody", "a\x00b"])
def test_what_gives_no_embeddings_is_no_model_here(client, name):
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model=name, input="hi")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_model_that_gives_embeddings_answers_no_conversation(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model=MODEL, messages=user("say: hi"))
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["one", ""]}, "input"),
        ({"input": ["one", 2]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": {"text": "one"}}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"extra_body": {"no_such_thing": 1}}, "no_such_thing"),
    ],
)
def test_a_request_that_does_not_fit(gateway, client, wrong, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(**{"model": MODEL, "input": "hi", **wrong})
    assert (caught.value.type, caught.value.param) == ("invalid_request_error", param)
    assert gateway.model.requests() == []


def test_texts_that_are_too_long(client):
    with pytest.raises(openai.APIStatusError) as long:
        client.embeddings.create(model=MODEL, input=["short", "x" * 200_001])
    assert (long.value.status_code, long.value.code) == (413, "input_too_long")
    assert long.value.param == "input[1]"
    with pytest.raises(openai.APIStatusError) as much:
        client.embeddings.create(model=MODEL, input=["x" * 190_000] * 20)
    assert (much.value.status_code, much.value.code) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("told", "expected", "status", "code"),
    [
        ("fail 500", openai.InternalServerError, 502, "model_failed"),
        ("fail 400", openai.BadRequestError, 400, "model_refused_request"),
        ("fail 401", openai.InternalServerError, 502, "model_refused_key"),
        ("fail 429 7", openai.RateLimitError, 429, "model_rate_limited"),
        ("wrong: short", openai.InternalServerError, 502, "model_garbled"),
    ],
)
def test_a_model_that_fails(client, told, expected, status, code):
    with pytest.raises(expected) as caught:
        client.embeddings.create(model=MODEL, input=[told, "another"])
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.response.headers.get("Retry-After") == ("7" if status == 429 else None)


def test_vectors_of_another_length_than_the_profile_says_are_refused(client, sized):
    assert len(client.embeddings.create(model=sized, input="hi").data[0].embedding) == 8
    assert len(client.embeddings.create(model=sized, input="hi", dimensions=4).data[0].embedding) == 4
    with pytest.raises(openai.InternalServerError) as caught:
        client.embeddings.create(model=sized, input="wrong: long")
    assert caught.value.code == "model_garbled"


def test_a_model_that_keeps_failing_is_left_alone(gateway, client):
    gateway.in_database(lambda: embedding_profile(gateway.model.base_url, "fragile", breaker_failures=2))
    for _ in range(2):
        with pytest.raises(openai.InternalServerError) as failed:
            client.embeddings.create(model="fragile", input="fail 500")
        assert failed.value.code == "model_failed"
    with pytest.raises(openai.InternalServerError) as refused:
        client.embeddings.create(model="fragile", input="hi")
    assert refused.value.code == "model_circuit_open"
    assert len(gateway.model.requests()) == 2


def test_our_own_rate_limit(gateway, client):
    slow = {"requests_per_minute": 1, "max_retry_wait_seconds": 0}
    gateway.in_database(lambda: embedding_profile(gateway.model.base_url, "slow", **slow))
    client.embeddings.create(model="slow", input="hi")
    with pytest.raises(openai.RateLimitError) as busy:
        client.embeddings.create(model="slow", input="hi")
    assert busy.value.code == "model_rate_limited"
    assert int(busy.value.response.headers["Retry-After"]) > 0


def test_a_key_that_may_not_spend(gateway, client):
    reader = client.with_options(api_key=gateway.in_database(key_that_only_reads))
    assert MODEL in [model.id for model in reader.models.list()]
    with pytest.raises(openai.PermissionDeniedError) as refused:
        reader.embeddings.create(model=MODEL, input="hi")
    assert refused.value.code == "scope_missing"


def test_who_goes_away_stops_the_model(gateway, client):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.7).embeddings.create(model=MODEL, input="hang")
    until = time.monotonic() + 10
    while [request["state"] for request in gateway.model.requests()] != ["disconnected"]:
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.05)


def test_embeddings_are_counted(gateway, client):
    def completed() -> float:
        lines = requests.get(f"{gateway.url}/metrics", timeout=60).text.splitlines()
        found = [line for line in lines if line.startswith('soma_embeddings_total{state="completed"}')]
        return float(found[0].split()[-1]) if found else 0.0

    before = completed()
    client.embeddings.create(model=MODEL, input="hi")
    assert completed() == before + 1
