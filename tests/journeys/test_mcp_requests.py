"""Requests to ``/mcp`` as no official client sends them, or as it sends them through a load balancer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

pytestmark = pytest.mark.django_db(transaction=True)

VERSION = "2025-11-25"
INITIALIZE = {
    "protocolVersion": VERSION,
    "capabilities": {},
    "clientInfo": {"name": "curl", "version": "1"},
}
Send = Callable[..., requests.Response]


@pytest.fixture
def send(gateway, key) -> Send:
    """Sends a message, with a good key and the usual headers where nothing else is said."""

    def post(
        message: Any, *, url: str = gateway.url, stream: bool = False, **headers: str | None
    ) -> requests.Response:
        sent = {
            "Authorization": f"Bearer {key}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": VERSION,
        } | {name.replace("_", "-"): text for name, text in headers.items()}
        body = message if isinstance(message, bytes) else json.dumps(message)
        return requests.post(f"{url}/mcp", data=body, headers=sent, timeout=60, stream=stream)

    return post


def message(method: str, params: Any = None, number: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}


def call(name: str, number: Any = 1, **arguments: Any) -> dict[str, Any]:
    return message("tools/call", {"name": name, "arguments": arguments}, number)


def cancelled(number: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}


def result_of(answer: requests.Response) -> dict[str, Any]:
    """The last message of an answer, whole or streamed."""
    if answer.headers["Content-Type"].startswith("application/json"):
        body: dict[str, Any] = answer.json()
        return body
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    last: dict[str, Any] = json.loads(events[-1])
    return last


def state_of(gateway: Any, key: str, state: str) -> dict[str, Any]:
    """The newest turn, once it is in a state."""
    until = time.monotonic() + 30
    while True:
        answer = requests.get(
            f"{gateway.url}/api/v1/turns?limit=1", headers={"Authorization": f"Bearer {key}"}, timeout=30
        )
        turn: dict[str, Any] = answer.json()["items"][0]
        if turn["state"] == state:
            return turn
        assert time.monotonic() < until, turn
        time.sleep(0.05)


def test_who_shows_no_good_key_is_told_how_to(send, gateway, key):
    nobody = send(message("tools/list"), Authorization=None)
    assert (nobody.status_code, nobody.headers["WWW-Authenticate"]) == (401, 'Bearer realm="somaagent"')
    assert nobody.headers["X-Request-ID"]
    stranger = send(message("tools/list"), Authorization="Bearer sa_wrong")
    assert stranger.status_code == 401
    assert 'error="invalid_token"' in stranger.headers["WWW-Authenticate"]
    assert stranger.json()["error"]["data"] == {"code": "credential_refused"}


def test_a_browsers_sign_in_counts_for_nothing(gateway):
    person = gateway.newcomer(one_time=False)
    browser = requests.Session()
    page = browser.get(f"{gateway.url}/sign-in/", timeout=30)
    token = browser.cookies["csrftoken"]
    signed_in = browser.post(
        page.url,
        data={"username": person.name, "password": person.password, "csrfmiddlewaretoken": token},
        headers={"Referer": page.url},
        timeout=30,
    )
    assert signed_in.ok
    assert "sessionid" in browser.cookies
    answer = browser.post(f"{gateway.url}/mcp", json=message("tools/list"), timeout=30)
    assert (answer.status_code, answer.json()["error"]["data"]["code"]) == (401, "credential_missing")


def test_pages_of_other_sites_are_refused(send, gateway):
    for origin in ("https://evil.example", "null", "http://", "http://[", "https://evil.example:99999"):
        answer = send(message("tools/list"), Origin=origin)
        assert answer.status_code == 403, (origin, answer.text)
        assert answer.json()["error"]["data"]["code"] == "origin_refused"
    assert send(message("tools/list"), Origin=gateway.url).status_code == 200


def test_a_key_that_only_reads_hears_what_it_lacks(send, gateway):
    from tests.journeys.openai_program import key_that_only_reads  # noqa: PLC0415 - Django is not configured before

    reading = f"Bearer {gateway.in_database(key_that_only_reads)}"
    assert send(message("tools/list"), Authorization=reading).status_code == 200
    refused = send(call("calculator", 8, expression="1"), Authorization=reading)
    assert (refused.status_code, refused.json()["id"]) == (403, 8)
    assert 'error="insufficient_scope", scope="write"' in refused.headers["WWW-Authenticate"]
    twice = (
        json.dumps(call("calculator", expression="1")).replace("{", '{"method": "tools/list", ', 1).encode()
    )
    assert send(twice, Authorization=reading).status_code == 403


def test_only_messages_are_taken(send, gateway, key):
    for method in ("GET", "DELETE", "PUT", "OPTIONS"):
        answer = requests.request(
            method, f"{gateway.url}/mcp", headers={"Authorization": f"Bearer {key}"}, timeout=30
        )
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST"), method


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": NaN}',
        b"[" * 100_000,
        b'"a"',
        b"[]",
        b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]',
        b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": {}, "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": ["tools/call"]}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": [1]}',
    ],
)
@pytest.mark.parametrize("version", ["2026-07-28", VERSION])
def test_what_is_no_message_is_refused(send, body, version):
    answer = send(body, MCP_Protocol_Version=version)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] < 0


@pytest.mark.parametrize(
    "params",
    [
        {"name": 7},
        {"name": "calculator", "arguments": "1 + 1"},
        {"name": "calculator", "arguments": [1]},
        {},
        {"name": None},
    ],
)
def test_a_call_of_another_shape_is_refused(send, params):
    assert result_of(send(message("tools/call", params)))["error"]["code"] == -32602


def nested(depth: int) -> Any:
    deep: Any = 1
    for _ in range(depth):
        deep = {"a": deep}
    return deep


def test_hostile_arguments_come_to_nothing(send):
    for arguments in (
        {"expression": "9**9**9**9"},
        {"expression": "__import__('os').system('id')"},
        {"expression": "1\x00"},
        {"expression": "1" * 100_000},
        {"expression": nested(100)},
        {"expression": "1", "__proto__": {}},
    ):
        answer = result_of(send(call("calculator", **arguments)))
        assert answer["result"]["isError"], arguments
        assert "Traceback" not in answer["result"]["content"][0]["text"]
    for expression in (10**400, nested(200), nested(900)):
        assert send(call("calculator", expression=expression)).status_code == 400
    private = result_of(send(call("http_fetch", url="http://169.254.169.254/latest/meta-data/")))
    assert private["result"]["isError"]


def test_a_body_has_a_largest_size(send, gateway, key):
    long = call("ask_assistant", input="x" * 4_000_000)
    announced = send(long)
    assert (announced.status_code, announced.json()["error"]["data"]["code"]) == (413, "body_too_large")

    def pieces() -> Iterator[bytes]:
        yield json.dumps(long).encode()

    chunked = requests.post(
        f"{gateway.url}/mcp",
        data=pieces(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        timeout=30,
    )
    assert chunked.status_code == 413


def test_an_unknown_version_hears_of_those_that_are_known(send):
    meta = {
        "io.modelcontextprotocol/protocolVersion": "1999-01-01",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    answer = send(
        message("tools/list", {"_meta": meta}), MCP_Protocol_Version="1999-01-01", Mcp_Method="tools/list"
    )
    assert answer.status_code == 400
    assert "2026-07-28" in json.dumps(answer.json())
    greeted = send(
        message("initialize", INITIALIZE | {"protocolVersion": "1999-01-01"}), MCP_Protocol_Version=None
    )
    assert result_of(greeted)["result"]["protocolVersion"] == VERSION


def test_a_session_of_nobodys_is_begun_anew(send):
    assert send(message("tools/list"), Mcp_Session_Id="who?").status_code == 404
    session = send(message("initialize", INITIALIZE)).headers["Mcp-Session-Id"]
    assert send(message("tools/list"), Mcp_Session_Id=session).status_code == 200


def test_hanging_up_leaves_the_turn_and_a_cancellation_stops_it(send, gateway, neighbour, key):
    words = "slow 0.1: " + "word " * 30
    progress = {"_meta": {"progressToken": "far"}}
    session = send(message("initialize", INITIALIZE)).headers["Mcp-Session-Id"]
    asking = call("ask_assistant", 7, input=words)
    asking["params"] |= progress
    with send(asking, stream=True, Mcp_Session_Id=session) as answer:
        assert any(b"notifications/progress" in line for line in answer.iter_lines())
    assert state_of(gateway, key, "completed")["output"].startswith("word")

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(send, call("ask_assistant", 8, input=words * 9), Mcp_Session_Id=session)
        state_of(gateway, key, "running")
        # Another session's request of the same name, and another user's, are not meant.
        other = send(message("initialize", INITIALIZE)).headers["Mcp-Session-Id"]
        stranger = f"Bearer {gateway.newcomer(one_time=False).api_key}"
        assert send(cancelled(8), Mcp_Session_Id=other).status_code == 202
        assert send(cancelled(8), Mcp_Session_Id=session, Authorization=stranger).status_code == 202
        assert state_of(gateway, key, "running")
        assert send(cancelled("8"), url=neighbour, Mcp_Session_Id=session).status_code == 202
        result = result_of(waiting.result())["result"]
    assert (result["isError"], result["structuredContent"]["state"]) == (True, "cancelled")
    assert state_of(gateway, key, "cancelled")


def test_a_cancellation_that_comes_first_is_heeded(send, gateway, key):
    session = send(message("initialize", INITIALIZE)).headers["Mcp-Session-Id"]
    assert send(cancelled("early"), Mcp_Session_Id=session).status_code == 202
    words = "slow 0.1: " + "word " * 300
    result = result_of(send(call("ask_assistant", "early", input=words), Mcp_Session_Id=session))["result"]
    assert result["structuredContent"]["state"] == "cancelled"


def test_a_call_that_is_sent_twice_under_one_key_is_one_turn(send):
    answers = [
        result_of(send(call("ask_assistant", number, input="say: Once."), Idempotency_Key="mcp-once"))[
            "result"
        ]
        for number in (1, 2)
    ]
    assert answers[0] == answers[1]
    clash = result_of(send(call("ask_assistant", 3, input="say: Twice."), Idempotency_Key="mcp-once"))
    assert clash["result"]["isError"]
    assert send(call("ask_assistant", 4, input="say: Hm."), Idempotency_Key="ä").status_code == 400
