"""A program speaks with an agent over WebSocket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.client import Client
from tests.journeys.gateway import Gateway
from tests.journeys.house import TIME, calls, house
from tests.websocket import WEBSOCKET, WebSocket, connected

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def member(gateway: Gateway) -> Client:
    return Client(gateway.url, gateway.newcomer(one_time=False).api_key)


def send(connection: WebSocket, **message: Any) -> None:
    connection.send(json.dumps(message))


def receive(connection: WebSocket) -> dict[str, Any]:
    return json.loads(connection.recv())


def events_of(connection: WebSocket) -> list[dict[str, Any]]:
    found = []
    while not found or found[-1]["event"] not in {"turn.completed", "turn.failed", "turn.cancelled"}:
        message = receive(connection)
        assert message["type"] == "event", message
        found.append(message)
    return found


def test_submit_and_follow_give_the_same_events_as_http(gateway, member):
    with connected(gateway.url + WEBSOCKET, member.api_key) as connection:
        send(connection, type="turn.submit", ref="a", input="say: hello over there")
        accepted = receive(connection)
        assert (accepted["type"], accepted["ref"]) == ("turn.accepted", "a")
        live = events_of(connection)
        over_http = list(member.follow(accepted["turn_id"]))
        assert [(event["id"], event["event"], event["data"]) for event in live] == [
            (event.id, event.type, event.data) for event in over_http
        ]
        send(connection, type="turn.follow", turn_id=accepted["turn_id"], after=live[1]["id"])
        assert events_of(connection) == live[2:]


def test_two_turns_on_one_connection_and_one_is_cancelled(gateway, member):
    with connected(gateway.url + WEBSOCKET, member.api_key) as connection:
        send(connection, type="turn.submit", ref="long", input="slow 0.1: " + "word " * 100)
        long_turn = receive(connection)["turn_id"]
        send(connection, type="turn.submit", ref="short", input="say: quick")
        send(connection, type="turn.cancel", turn_id=long_turn)
        finals: dict[str, str] = {}
        while len(finals) < 2:
            message = receive(connection)
            if message["type"] == "event" and message["event"] in {"turn.completed", "turn.cancelled"}:
                finals[message["turn_id"]] = message["event"]
        assert finals[long_turn] == "turn.cancelled"
        assert sorted(finals.values()) == ["turn.cancelled", "turn.completed"]


def test_a_call_is_approved_on_the_connection_that_follows_it(gateway):
    with connected(gateway.url + WEBSOCKET, house(gateway).member.api_key) as connection:
        send(connection, type="turn.submit", input=calls(TIME))
        turn = receive(connection)["turn_id"]
        asked = None
        while (message := receive(connection))["event"] != "turn.awaiting_approval":
            asked = message["data"] if message["event"] == "approval.required" else asked
        answer = {"call_id": asked["call"]["id"], "decision": "approve", "arguments": {"time_zone": 3}}
        send(connection, type="turn.approve", ref="a", turn_id=turn, calls=[answer])
        refused = receive(connection)
        assert (refused["type"], refused["ref"], refused["code"]) == ("problem", "a", "invalid")
        assert refused["field"] == "body.calls.0.arguments"
        answer["arguments"] = {"time_zone": "Asia/Tokyo"}
        send(connection, type="turn.approve", ref="b", turn_id=turn, calls=[answer])
        told = [receive(connection)]
        while told[-1].get("event") != "turn.completed":
            told.append(receive(connection))
    [kept] = [message for message in told if message["type"] == "turn.approvals"]
    assert (kept["ref"], kept["turn_id"]) == ("b", turn)
    assert [(item["answer"], item["edited"]) for item in kept["items"]] == [("approved", True)]
    assert "Asia/Tokyo" in told[-1]["data"]["text"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no json", "malformed"),
        ("[]", "invalid"),
        ('{"type": "turn.guess"}', "invalid"),
        ('{"type": "turn.submit"}', "invalid"),
        ('{"type": "turn.approve", "turn_id": "01a20031-7dd9-7110-a10c-43d852e42900"}', "invalid"),
        ('{"type": "turn.submit", "input": "a\\u0000b"}', "invalid"),
        ('{"type": "turn.submit", "input": "hi", "surplus": 1}', "invalid"),
        ('{"type": "turn.follow", "turn_id": "01a20031-7dd9-7110-a10c-43d852e42900"}', "not_found"),
        (
            '{"type": "turn.follow", "turn_id": "01a20031-7dd9-7110-a10c-43d852e42900", "after": -1}',
            "invalid",
        ),
    ],
)
def test_a_bad_message_is_refused_and_the_connection_stays(gateway, member, message, code):
    with connected(gateway.url + WEBSOCKET, member.api_key) as connection:
        connection.send(message)
        refused = receive(connection)
        assert (refused["type"], refused["code"]) == ("problem", code)
        send(connection, type="turn.submit", input="say: still here")
        assert receive(connection)["type"] == "turn.accepted"
        assert events_of(connection)[-1]["data"]["text"] == "still here"


@pytest.mark.parametrize("key", [None, "nobody"])
def test_without_a_good_credential_the_connection_is_closed(gateway, key):
    with connected(gateway.url + WEBSOCKET, key) as connection, pytest.raises(ConnectionClosed) as closed:
        connection.recv(60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def test_a_foreign_page_cannot_connect(gateway, member):
    with (
        pytest.raises(InvalidStatus) as refused,
        connected(gateway.url + WEBSOCKET, member.api_key, Origin="https://evil.example"),
    ):
        pass
    assert refused.value.response.status_code == 403
