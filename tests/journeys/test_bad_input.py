"""Bad input is the sender's fault, and the answer names the field: never a 500, never a hang."""

from __future__ import annotations

import http.client
import uuid
from urllib.parse import urlsplit

import pytest
import requests

from tests.client import Client
from tests.journeys.gateway import Gateway

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def member(gateway: Gateway, django_db_blocker) -> Client:
    with django_db_blocker.unblock():
        return Client(gateway.url, gateway.newcomer(one_time=False).api_key)


def problem_of(answer: requests.Response, status: int) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert body["detail"]
    return body


def field_of(answer: requests.Response, status: int) -> str:
    return problem_of(answer, status)["errors"][0]["field"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.input"),
        ({"input": ""}, "body.input"),
        ({"input": "  "}, "body.input"),
        ({"input": 5}, "body.input"),
        ({"input": None}, "body.input"),
        ({"input": "a\x00b"}, "body.input"),
        ({"input": "Hello", "session_id": "not-an-id"}, "body.session_id"),
        ({"input": "Hello", "agent": "no-such-agent"}, "body.agent"),
        ({"input": "Hello", "agent": "a\x00b"}, "body.agent"),
        ({"input": "Hello", "stream": "perhaps"}, "body.stream"),
        ([], "body"),
        ({"input": "Hello", "sesion_id": None}, "body.sesion_id"),
        ("text", "body"),
    ],
)
def test_a_body_that_does_not_fit(member, body, field):
    assert field_of(member.post("/turns", body), 422) == field


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff\xfe", b'{"input": "\\ud800"}', b'{"input": NaN}', b"[" * 100_000]
)
def test_json_that_cannot_be_read(member, raw):
    answer = member.call("POST", "/turns", data=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    assert problem_of(answer, answer.status_code)["errors"][0]["field"].startswith("body")


def test_a_message_of_ten_megabytes(member):
    answer = member.post("/turns", {"input": "a" * 10_000_000})
    assert field_of(answer, 413).startswith("body")


def test_a_message_that_is_too_long(member):
    assert field_of(member.post("/turns", {"input": "a" * 200_001}), 413) == "body.input"


@pytest.mark.parametrize(
    ("path", "parameters", "field"),
    [
        ("/sessions", {"limit": "0"}, "query.limit"),
        ("/sessions", {"limit": "1000"}, "query.limit"),
        ("/sessions", {"limit": "ten"}, "query.limit"),
        ("/sessions", {"cursor": "not-an-id"}, "query.cursor"),
        ("/sessions", {"cursor": str(uuid.uuid4())}, "query.cursor"),
        ("/sessions", {"archived": "perhaps"}, "query.archived"),
        ("/turns", {"session_id": "\x00"}, "query.session_id"),
    ],
)
def test_a_query_that_does_not_fit(member, path, parameters, field):
    assert field_of(member.get(path, params=parameters), 422) == field


@pytest.mark.parametrize("cursor", ["abc", "-1", "1.5", "9" * 400, "١"])
def test_a_cursor_that_is_none(member, cursor):
    turn = member.submit("say: hi")
    member.finished(turn["id"])
    answer = member.get(f"/turns/{turn['id']}/events", headers={"Last-Event-ID": cursor.encode()})
    assert field_of(answer, 422) == "header.Last-Event-ID"
    assert field_of(member.get(f"/turns/{turn['id']}/events", params={"after": cursor}), 422) == "query.after"


@pytest.mark.parametrize("key", ["", "a" * 201, "with space", "ünïcode".encode()])
def test_an_idempotency_key_that_is_none(member, key):
    answer = member.post("/sessions", {}, headers={"Idempotency-Key": key})
    assert field_of(answer, 422) == "header.Idempotency-Key"


@pytest.mark.parametrize("path", ["/sessions/{}", "/sessions/{}/messages", "/turns/{}", "/turns/{}/events"])
def test_ids_that_nothing_has(member, path):
    assert problem_of(member.get(path.format(uuid.uuid4())), 404)["code"] == "not_found"
    assert problem_of(member.get(path.format("not-an-id")), 404)["code"] == "not_found"


@pytest.mark.parametrize(
    "credential",
    ["Bearer nobody", "Bearer ", "Bearer " + "x" * 5000, "Basic dXNlcjpwYXNz", "sa_x", b"Bearer \xff\xfe"],
)
def test_a_credential_that_is_none(gateway, credential):
    answer = requests.get(f"{gateway.url}/api/v1/sessions", headers={"Authorization": credential}, timeout=60)
    assert problem_of(answer, 401)["code"] == "credential_refused"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_no_credential_at_all(gateway):
    answer = requests.get(f"{gateway.url}/api/v1/sessions", timeout=60)
    assert problem_of(answer, 401)["code"] == "credential_missing"


def test_what_is_not_there(gateway, member):
    assert problem_of(requests.get(f"{gateway.url}/api/v1/nothing", timeout=60), 404)["code"] == "not_found"
    refused = member.call("PUT", "/sessions")
    assert problem_of(refused, 405)["code"] == "method_not_allowed"
    assert set(refused.headers["Allow"].split(", ")) == {"GET", "POST"}


def test_headers_that_are_too_large(gateway):
    address = urlsplit(gateway.url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname, address.port, timeout=60)
    connection.request("GET", "/api/v1/agents", headers={"X-Large": "a" * 100_000})
    answer = connection.getresponse()
    assert answer.status == 431
    assert answer.getheader("Content-Type") == "application/problem+json"


def test_a_foreign_host_name(gateway):
    answer = requests.get(f"{gateway.url}/api/v1/agents", headers={"Host": "evil.example"}, timeout=60)
    assert problem_of(answer, 400)["code"] == "malformed"
