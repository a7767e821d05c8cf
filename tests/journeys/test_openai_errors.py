"""A program written for OpenAI's API is refused, or the model fails: its client raises what it knows."""

from __future__ import annotations

import openai
import pytest
import requests

from tests.journeys.gateway import Gateway
from tests.journeys.openai_program import AGENT, another_tenant, key_that_only_reads, user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "expected", "status", "code"),
    [
        ("fail 500", openai.InternalServerError, 502, "model_failed"),
        ("fail 400", openai.BadRequestError, 400, "model_refused_request"),
        ("too long", openai.BadRequestError, 400, "context_length_exceeded"),
        ("fail 401", openai.InternalServerError, 502, "model_refused_key"),
        ("fail 429 7", openai.RateLimitError, 429, "model_rate_limited"),
        ("garbage", openai.InternalServerError, 502, "model_garbled"),
    ],
)
def test_a_model_that_fails(client, behaviour, expected, status, code, stream):
    with pytest.raises(expected) as caught:
        client.chat.completions.create(model=AGENT, messages=user(behaviour), stream=stream)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.response.headers.get("Retry-After") == ("7" if status == 429 else None)


def test_a_model_that_breaks_off_in_mid_stream(client):
    chunks = client.chat.completions.create(model=AGENT, messages=user("cut after 2"), stream=True)
    with pytest.raises(openai.APIError) as caught:
        list(chunks)
    assert caught.value.code == "model_cut_off"


def test_the_client_tries_again_where_that_may_help(gateway, client):
    patient = client.with_options(max_retries=2)
    gateway.model.script("fail 503", "say: back again")
    answer = patient.chat.completions.create(model=AGENT, messages=user("Are you there?"))
    assert answer.choices[0].message.content == "back again"
    gateway.model.reset()
    with pytest.raises(openai.InternalServerError):
        patient.chat.completions.create(model=AGENT, messages=user("fail 401"))
    assert len(gateway.model.requests()) == 1


def test_a_key_that_is_none_or_may_not_spend(gateway, client):
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="nobody").models.list()
    assert caught.value.code == "invalid_api_key"
    reader = client.with_options(api_key=gateway.in_database(key_that_only_reads))
    assert reader.models.list().data
    with pytest.raises(openai.PermissionDeniedError) as refused:
        reader.chat.completions.create(model=AGENT, messages=user("say: hi"))
    assert refused.value.code == "scope_missing"


@pytest.mark.parametrize("name", ["nobody", "a\x00b", "gpt-4.1", "no/body"])
def test_an_agent_that_is_not_there(client, name):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model=name, messages=user("say: hi"))
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve(name)
    assert missing.value.code == "model_not_found"


def test_another_tenant_s_agent_is_not_there(gateway, client):
    slug, their_key = gateway.in_database(lambda: another_tenant(gateway.model.base_url))
    theirs = client.with_options(api_key=their_key)
    assert slug in [model.id for model in theirs.models.list()]
    said = theirs.chat.completions.create(model=slug, messages=user("say: ours"))
    assert said.choices[0].message.content == "ours"
    assert slug not in [model.id for model in client.models.list()]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(slug)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=slug, messages=user("say: hi"))


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "poem"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        ({"temperature": 9}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"stop": list("abcde")}, "stop"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools[0].function.name"),
        ({"extra_body": {"no_such_thing": 1}}, "no_such_thing"),
        ({"tool_choice": "required"}, None),
    ],
)
def test_a_request_that_does_not_fit(client, wrong, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": AGENT, "messages": user("say: hi"), **wrong})
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == param


def test_bodies_that_cannot_be_read(gateway, key):
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    tool = b'[{"type": "function", "function": {"name": "f", "parameters": ' + deep + b"}}]"
    known = b'"model": "assistant", "messages": [{"role": "user", "content": "say: hi"}]'
    for body in (b"", b"{", b"[]", b'{"model": "\\ud800"}', b"{" + known + b', "tools": ' + tool + b"}"):
        answer = _posted(gateway, key, body)
        assert answer.status_code == 400, body[:80]
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_request_that_is_too_large(client):
    for size in (200_001, 10_000_000):
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model=AGENT, messages=user("a" * size))
        assert caught.value.status_code == 413
        assert caught.value.type == "invalid_request_error"


def test_what_is_not_offered(gateway, client, key):
    with pytest.raises(openai.NotFoundError) as caught:
        client.moderations.create(input="x")
    assert caught.value.code == "not_found"
    refused = requests.get(
        f"{gateway.url}/v1/chat/completions", headers={"Authorization": f"Bearer {key}"}, timeout=60
    )
    assert (refused.status_code, refused.headers["Allow"]) == (405, "POST")
    assert refused.json()["error"]["code"] == "method_not_allowed"


def _posted(gateway: Gateway, key: str, body: bytes) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    return requests.post(f"{gateway.url}/v1/chat/completions", data=body, headers=headers, timeout=60)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"type": "input_audio", "input_audio": {"data": "", "format": "mp3"}}, "only the types text"),
        ({"type": "image_url", "image_url": {"url": "http://example.org/cat.jpg"}}, "an https address"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,no!"}}, "a data URL in Base64"),
        ({"type": "image_url", "image_url": {"url": "data:text/html;base64,PGI+"}}, "a type image/"),
        ({"type": "image_url", "image_url": {"url": "https://a.org", "detail": "huge"}}, "'low'"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "nothing is kept here"),
        ({"type": "file", "file": {"file_data": "JVBERg=="}}, "file_data is a data URL"),
        ({"type": "image_url"}, "image_url: Field required"),
        ("text", "only the types text"),
    ],
)
def test_a_part_of_a_message_that_cannot_be_shown(client, part, reason):
    with pytest.raises(openai.BadRequestError, match=reason) as caught:
        client.chat.completions.create(model=AGENT, messages=[{"role": "user", "content": [part]}])
    assert caught.value.param == "messages[0].content"


def test_only_users_show_images(client):
    image = {"type": "image_url", "image_url": {"url": "https://example.org/cat.jpg"}}
    said = [{"role": "system", "content": [image]}, *user("say: hi")]
    with pytest.raises(openai.BadRequestError, match="only the role user has images"):
        client.chat.completions.create(model=AGENT, messages=said)
