"""Whoever is shut out is out at once: each credential, and each stream that is open with it.

The streams are of a turn that waits for approval: nothing is told there until somebody answers. Each wait is
shorter than the look that comes without a word.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import openai
import pytest
from websockets.exceptions import ConnectionClosed

from tests.client import Client, Event, events_of
from tests.journeys.gateway import Gateway, Person
from tests.journeys.house import TIME, House, calls, house
from tests.websocket import WEBSOCKET, WebSocket, connected

pytestmark = pytest.mark.django_db(transaction=True)

SOON = 10


def _rows(home: House, change: Callable[[Any, Any], None]) -> None:
    from somaagent.tenancy.models import Tenant, User  # noqa: PLC0415 - Django is not configured before

    change(Tenant.objects.get(id=home.tenant_id), User.objects.get(username=home.member.name))


def _suspend_tenant(gateway: Gateway, home: House) -> None:
    def change(tenant: Any, _: Any) -> None:
        tenant.suspended_at = datetime.now(UTC)
        tenant.save()

    gateway.in_database(lambda: _rows(home, change))


def _suspend_user(gateway: Gateway, home: House) -> None:
    def change(_: Any, user: Any) -> None:
        user.is_active = False
        user.save()

    gateway.in_database(lambda: _rows(home, change))


def _revoke_key(gateway: Gateway, home: House) -> None:
    mine = Client(gateway.url, home.member.api_key)
    [key] = mine.get("/api-keys").json()["items"]
    assert mine.call("DELETE", f"/api-keys/{key['id']}").status_code == 204


def _remove_member(gateway: Gateway, home: House) -> None:
    owner = Client(gateway.url, home.owner.api_key)
    assert owner.call("DELETE", f"/members/{_member_id(owner, home)}").status_code == 204


def _make_viewer(gateway: Gateway, home: House) -> None:
    owner = Client(gateway.url, home.owner.api_key)
    changed = owner.call("PATCH", f"/members/{_member_id(owner, home)}", json={"role": "viewer"})
    assert changed.status_code == 200


def _member_id(owner: Client, home: House) -> str:
    members = owner.get("/members").json()["items"]
    return next(member["id"] for member in members if member["username"] == home.member.name)


ENDINGS = {
    "the key is revoked": _revoke_key,
    "the membership is ended": _remove_member,
    "the user is suspended": _suspend_user,
    "the tenant is suspended": _suspend_tenant,
}


def waiting_turn(client: Client) -> str:
    """A turn of theirs that waits for approval."""
    turn = client.submit(calls(TIME))["id"]
    for event in client.follow(turn):
        if event.type == "turn.awaiting_approval":
            return turn
    raise AssertionError("it does not wait")


@contextlib.contextmanager
def following(client: Client, turn: str) -> Iterator[Callable[[], list[Event]]]:
    """A stream that has told all there is. What it gives is called for the rest, to the stream's end."""
    with client.get(f"/turns/{turn}/events", stream=True, timeout=SOON) as answer:
        events = events_of(answer)
        while next(events).type != "turn.awaiting_approval":
            pass
        yield lambda: list(events)


@contextlib.contextmanager
def following_over_websocket(gateway: Gateway, person: Person, turn: str) -> Iterator[WebSocket]:
    """One that has told all there is."""
    with connected(gateway.url + WEBSOCKET, person.api_key) as connection:
        connection.send(json.dumps({"type": "turn.follow", "turn_id": turn}))
        while json.loads(connection.recv(SOON)).get("event") != "turn.awaiting_approval":
            pass
        yield connection


@pytest.mark.parametrize("ending", ENDINGS)
def test_open_streams_end_with_their_credential(gateway, ending):
    home, elsewhere = house(gateway), house(gateway)
    member, stranger = Client(gateway.url, home.member.api_key), Client(gateway.url, elsewhere.member.api_key)
    turn, other = waiting_turn(member), waiting_turn(stranger)
    with (
        following(member, turn) as stream,
        following_over_websocket(gateway, home.member, turn) as socket,
        following_over_websocket(gateway, elsewhere.member, other) as untouched,
    ):
        ENDINGS[ending](gateway, home)
        assert stream() == []  # it is over, and nobody said that the turn is
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(SOON)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401
        untouched.send(json.dumps({"type": "turn.cancel", "turn_id": other}))
        assert json.loads(untouched.recv(SOON))["turn_id"] == other
    assert member.get("/turns").status_code == 401


def test_a_member_with_another_role_connects_again_to_have_it(gateway):
    home = house(gateway)
    member = Client(gateway.url, home.member.api_key)
    turn = waiting_turn(member)
    with following_over_websocket(gateway, home.member, turn) as socket:
        _make_viewer(gateway, home)
        with pytest.raises(ConnectionClosed):
            socket.recv(SOON)
    with following_over_websocket(gateway, home.member, turn) as socket:
        socket.send(json.dumps({"type": "turn.cancel", "turn_id": turn}))
        assert json.loads(socket.recv(SOON))["code"] == "scope_missing"


def test_another_key_of_the_same_user_goes_on(gateway):
    home = house(gateway)
    first = Client(gateway.url, home.member.api_key)
    second = Client(gateway.url, first.post("/api-keys", {"name": "second"}).json()["key"])
    turn = waiting_turn(first)
    with following(second, turn) as kept, following(first, turn) as cut:
        revoked = next(key for key in first.get("/api-keys").json()["items"] if key["name"] == "journey")
        assert second.call("DELETE", f"/api-keys/{revoked['id']}").status_code == 204
        assert cut() == []
        assert second.post(f"/turns/{turn}/cancel").status_code == 202
        assert kept()[-1].type == "turn.cancelled"


def test_an_answer_that_is_being_written_is_cut_and_the_model_stopped(gateway):
    """A chat completion is nobody's but its request's; a response that is waited for is refused."""
    home = house(gateway)
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=home.member.api_key, max_retries=0)
    slow = "slow 0.5: " + "word " * 60
    messages: Any = [{"role": "user", "content": slow}]
    chunks = iter(client.chat.completions.create(model="assistant", messages=messages, stream=True))
    next(chunks)
    refused: list[BaseException] = []

    def wait() -> None:
        try:
            client.responses.create(model="assistant", input=slow, timeout=SOON)
        except openai.OpenAIError as error:
            refused.append(error)

    followed = [
        iter(client.responses.create(model="assistant", input=slow, stream=True, store=store))
        for store in (True, False)
    ]
    for events in followed:
        next(events)
    waiter = threading.Thread(target=wait)
    waiter.start()
    next(chunks)
    _remove_member(gateway, home)
    with pytest.raises(openai.APIError, match="credential has ended"):
        list(chunks)
    for events in followed:
        last = list(events)[-1]
        assert (last.type, getattr(last, "code", None)) == ("error", "credential_ended")
    waiter.join(2 * SOON)
    assert isinstance(refused[0], openai.AuthenticationError)
