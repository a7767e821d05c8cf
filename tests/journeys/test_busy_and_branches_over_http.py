"""A program speaks while an answer is being written, edits what it said, and asks for other answers."""

from __future__ import annotations

import pytest

from tests.client import Client
from tests.journeys.gateway import Gateway

pytestmark = pytest.mark.django_db(transaction=True)
LONG = "slow 0.05: " + " ".join(f"word{n}" for n in range(200))


@pytest.fixture
def member(gateway: Gateway) -> Client:
    return Client(gateway.url, gateway.newcomer(one_time=False).api_key)


def said(member: Client, session_id: str, **query: str) -> list[str]:
    """The branch from its first message on."""
    items = member.get(f"/sessions/{session_id}/messages", params=query).json()["items"]
    return [message["text"] for message in reversed(items)]


def written(member: Client, turn_id: str) -> None:
    """Returns when the first words are there."""
    for event in member.follow(turn_id):
        if event.type == "text.delta":
            return


def test_while_an_answer_is_written_another_input_is_refused_or_waits(member):
    first = member.submit("slow 0.05: one two three four five six")
    refused = member.post("/turns", {"input": "say: now", "session_id": first["session_id"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "session_busy")
    assert "Retry-After" in refused.headers
    second = member.submit("say: seven", session_id=first["session_id"], on_busy="queue")
    third = member.submit("say: eight", session_id=first["session_id"], on_busy="queue", background=False)
    assert second["state"] == third["state"] == "queued"
    assert member.finished(third["id"])["output"] == "eight"
    assert said(member, first["session_id"]) == [
        "slow 0.05: one two three four five six",
        "one two three four five six",
        "say: seven",
        "seven",
        "say: eight",
        "eight",
    ]


def test_an_input_interrupts(member):
    first = member.submit(LONG)
    written(member, first["id"])
    now = member.submit("say: stopped", session_id=first["session_id"], on_busy="interrupt")
    assert member.finished(now["id"])["output"] == "stopped"
    stopped = member.get(f"/turns/{first['id']}").json()
    assert stopped["state"] == "cancelled"
    assert said(member, first["session_id"])[1] == stopped["output"]
    assert said(member, first["session_id"])[2:] == ["say: stopped", "stopped"]


def test_another_answer_waits_for_the_one_that_is_written_or_stops_it(member, gateway):
    gateway.model.script("say: red", LONG, "say: blue", "say: green")
    first = member.finished(member.submit("A colour?")["id"])
    retry = f"/turns/{first['id']}/retry"
    running = member.submit("A long story?", session_id=first["session_id"])
    written(member, running["id"])
    refused = member.post(retry)
    assert (refused.status_code, refused.json()["code"]) == (409, "session_busy")
    assert member.post(retry, {"on_busy": "later"}).status_code == 422
    waiting = member.post(retry, {"on_busy": "queue"}).json()
    assert waiting["state"] == "queued"
    now = member.finished(member.post(retry, {"on_busy": "interrupt"}).json()["id"])
    assert member.get(f"/turns/{running['id']}").json()["state"] == "cancelled"
    assert member.get(f"/turns/{waiting['id']}").json()["state"] == "cancelled"
    assert (now["state"], now["output"]) == ("completed", "blue")
    assert said(member, first["session_id"]) == ["A colour?", "blue"]
    long_one = member.submit("slow 0.05: one two three", session_id=first["session_id"])
    after = member.post(retry, {"on_busy": "queue"}).json()
    assert member.finished(long_one["id"])["state"] == "completed"
    assert member.finished(after["id"])["state"] == "completed"


def test_a_waiting_input_is_taken_back(member):
    first = member.submit(LONG)
    waiting = member.submit("say: never", session_id=first["session_id"], on_busy="queue")
    assert member.post(f"/turns/{waiting['id']}/cancel").json()["state"] == "cancelled"
    assert [event.type for event in member.follow(waiting["id"])] == ["turn.cancelled"]
    member.post(f"/turns/{first['id']}/cancel")
    assert member.finished(first["id"])["state"] == "cancelled"


def test_a_question_is_edited_and_an_answer_given_anew(member, gateway):
    gateway.model.script("say: red", "say: blue", "say: green")
    first = member.finished(member.submit("A colour?")["id"])
    session_id = first["session_id"]
    again = member.finished(member.post(f"/turns/{first['id']}/retry").json()["id"])
    assert (again["output"], again["input_message_id"]) == ("blue", first["input_message_id"])
    edited = member.submit("A calm colour?", session_id=session_id, replaces=first["input_message_id"])
    member.finished(edited["id"])
    assert said(member, session_id) == ["A calm colour?", "green"]
    assert said(member, session_id, through=first["output_message_id"]) == ["A colour?", "red"]

    back = member.call(
        "PATCH", f"/sessions/{session_id}", json={"active_message_id": again["output_message_id"]}
    ).json()
    assert back["active_message_id"] == again["output_message_id"]
    answer, question = member.get(f"/sessions/{session_id}/messages").json()["items"]
    assert answer["alternatives"] == [first["output_message_id"], again["output_message_id"]]
    assert question["alternatives"] == [first["input_message_id"], edited["input_message_id"]]
    assert (answer["parent_id"], question["parent_id"]) == (question["id"], None)


def test_a_place_that_is_not_there_is_refused(member):
    first = member.finished(member.submit("say: hello")["id"])
    for place in ({"replaces": first["output_message_id"]}, {"after": first["input_message_id"]}):
        refused = member.post("/turns", {"input": "x", "session_id": first["session_id"], **place})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (
            422,
            f"body.{next(iter(place))}",
        )
    lost = member.post("/turns", {"input": "x", "replaces": first["input_message_id"]})
    assert lost.status_code == 422
