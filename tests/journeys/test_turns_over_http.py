"""A program speaks with an agent over HTTP."""

from __future__ import annotations

import uuid

import pytest

from tests.client import Client, browserlike, events_of, text_of
from tests.journeys.gateway import Gateway

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def member(gateway: Gateway) -> Client:
    return Client(gateway.url, gateway.newcomer(one_time=False).api_key)


def test_a_turn_in_one_request(member):
    with member.post("/turns", {"input": "say: one two three", "stream": True}, stream=True) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        events = list(events_of(answer))
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert events[0].type == "turn.started"
    assert text_of(events) == "one two three"
    assert events[-1].type == "turn.completed"
    assert events[-1].data["text"] == "one two three"
    turn = member.get(f"/turns/{events[0].data['turn_id']}").json()
    assert (turn["state"], turn["output"], turn["usage"]["output_tokens"]) == (
        "completed",
        "one two three",
        3,
    )


def test_a_conversation_goes_on(member, gateway):
    first = member.finished(member.submit("say: The capital is Paris.")["id"])
    second = member.finished(member.submit("say: About two million.", session_id=first["session_id"])["id"])
    assert second["output"] == "About two million."
    said = member.get(f"/sessions/{first['session_id']}/messages").json()["items"]
    assert [message["role"] for message in said] == ["assistant", "user", "assistant", "user"]
    told = gateway.model.requests()[-1]["body"]["messages"]
    assert [message["content"] for message in told if message["role"] != "system"] == [
        "say: The capital is Paris.",
        "The capital is Paris.",
        "say: About two million.",
    ]


def test_a_client_that_comes_back_gets_the_rest_and_nothing_twice(member):
    turn = member.submit("slow 0.05: " + " ".join(f"word{n}" for n in range(30)))
    before = []
    for event in member.follow(turn["id"]):
        before.append(event)
        if len(before) == 6:
            break
    after = list(member.follow(turn["id"], after=before[-1].id))
    assert [event.id for event in before + after] == list(range(1, len(before + after) + 1))
    assert text_of(before + after) == " ".join(f"word{n}" for n in range(30))
    again = list(member.follow(turn["id"]))
    assert again == before + after
    assert list(member.follow(turn["id"], after=again[-1].id)) == []


def test_two_clients_see_the_same(member):
    turn = member.submit("slow 0.05: here and there and everywhere")
    first, second = member.follow(turn["id"]), member.follow(turn["id"])
    assert list(first) == list(second)


def test_a_turn_is_cancelled_by_its_host_and_keeps_what_was_said(member):
    turn = member.submit("slow 0.1: " + "word " * 100)
    events = member.follow(turn["id"])
    while next(events).type != "text.delta":
        pass
    assert member.post(f"/turns/{turn['id']}/cancel").status_code == 202
    assert [event.type for event in events][-1] == "turn.cancelled"
    ended = member.get(f"/turns/{turn['id']}").json()
    assert ended["state"] == "cancelled"
    assert ended["output"].startswith("word")
    (answer, _) = member.get(f"/sessions/{turn['session_id']}/messages").json()["items"]
    assert answer["complete"] is False
    assert member.post(f"/turns/{turn['id']}/cancel").json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("behaviour", "code", "retryable"),
    [
        ("fail 500", "model_failed", True),
        ("fail 401", "model_refused_key", False),
        ("cut after 2", "model_cut_off", True),
        ("garbage", "model_garbled", True),
    ],
)
def test_a_model_that_fails_ends_the_turn_with_the_reason(member, behaviour, code, retryable):
    turn = member.submit(behaviour)
    final = list(member.follow(turn["id"]))[-1]
    assert (final.type, final.data["code"], final.data["retryable"]) == ("turn.failed", code, retryable)
    ended = member.get(f"/turns/{turn['id']}").json()
    assert ended["state"] == "failed"
    assert ended["error"] == {"code": code, "message": final.data["message"], "retryable": retryable}


def test_a_failed_turn_is_tried_again(member, gateway):
    gateway.model.script("fail 503", "say: Here I am.")
    turn = member.submit("Are you there?")
    assert member.finished(turn["id"])["state"] == "failed"
    again = member.post(f"/turns/{turn['id']}/retry")
    assert again.status_code == 201
    assert member.finished(again.json()["id"])["output"] == "Here I am."
    said = member.get(f"/sessions/{turn['session_id']}/messages").json()["items"]
    assert [message["role"] for message in said] == ["assistant", "user"]


def test_a_request_sent_twice_is_done_once(member):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = member.post("/turns", {"input": "say: once"}, headers=key)
    second = member.post("/turns", {"input": "say: once"}, headers=key)
    assert first.json()["id"] == second.json()["id"]
    other = member.post("/turns", {"input": "say: twice"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    member.finished(first.json()["id"])


def test_a_busy_session_says_so(member):
    turn = member.submit("slow 0.1: " + "word " * 50)
    refused = member.post("/turns", {"input": "And?", "session_id": turn["session_id"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "session_busy")
    assert int(refused.headers["Retry-After"]) >= 1
    member.post(f"/turns/{turn['id']}/cancel")
    member.finished(turn["id"])


def test_sessions_are_listed_renamed_archived_and_deleted(member):
    made = [member.post("/sessions", {"title": f"Chat {n}"}).json()["id"] for n in range(3)]
    first = member.get("/sessions", params={"limit": 2}).json()
    rest = member.get("/sessions", params={"limit": 2, "cursor": first["next"]}).json()
    assert [session["id"] for session in first["items"] + rest["items"]] == made[::-1]
    assert rest["next"] is None

    assert (
        member.call("PATCH", f"/sessions/{made[0]}", json={"title": "Renamed"}).json()["title"] == "Renamed"
    )
    assert member.call("PATCH", f"/sessions/{made[1]}", json={"archived": True}).json()["archived_at"]
    assert {session["id"] for session in member.get("/sessions").json()["items"]} == {made[0], made[2]}
    archived = member.get("/sessions", params={"archived": True}).json()["items"]
    assert [session["id"] for session in archived] == [made[1]]
    assert member.call("DELETE", f"/sessions/{made[2]}").status_code == 204
    assert member.get(f"/sessions/{made[2]}").status_code == 404


def test_a_deleted_session_stops_its_turn_and_forgets_its_events(member):
    turn = member.submit("slow 0.1: " + "word " * 100)
    assert member.call("DELETE", f"/sessions/{turn['session_id']}").status_code == 204
    for path in (
        f"/turns/{turn['id']}",
        f"/turns/{turn['id']}/events",
        f"/sessions/{turn['session_id']}/messages",
    ):
        assert member.get(path).status_code == 404


def test_another_members_things_look_as_if_they_did_not_exist(member, gateway):
    outsider = Client(gateway.url, gateway.newcomer(one_time=False).api_key)
    turn = member.submit("say: secret")
    member.finished(turn["id"])
    nobody = str(uuid.UUID(turn["id"]))[:-4] + "0000"
    for method, path in [
        ("GET", "/turns/{}"),
        ("GET", "/turns/{}/events"),
        ("POST", "/turns/{}/cancel"),
        ("POST", "/turns/{}/retry"),
    ]:
        theirs, none = (outsider.call(method, path.format(which)) for which in (turn["id"], nobody))
        assert theirs.status_code == none.status_code == 404
        assert theirs.json() | {"request_id": ""} == none.json() | {"request_id": ""}
    assert outsider.get(f"/sessions/{turn['session_id']}").status_code == 404
    refused = outsider.post("/turns", {"input": "Hello", "session_id": turn["session_id"]})
    assert refused.status_code == 404
    assert outsider.get("/turns").json()["items"] == []


def test_a_key_that_only_reads_cannot_spend(gateway):
    from somaagent.tenancy import services  # noqa: PLC0415 Django is not configured before
    from somaagent.tenancy.models import User  # noqa: PLC0415 as above
    from somaagent.tenancy.selectors import actor_by_user  # noqa: PLC0415 as above

    person = gateway.newcomer(one_time=False)
    actor = actor_by_user(User.objects.get(username=person.name).id)
    _, text = services.api_key_create(
        tenant_id=actor.tenant_id, user_id=actor.user_id, name="reader", scopes=["read"]
    )
    reader = Client(gateway.url, text)
    assert reader.get("/agents").status_code == 200
    refused = reader.post("/turns", {"input": "Hello"})
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")


def test_the_browsers_session_needs_its_csrf_token(gateway):
    person = gateway.newcomer(one_time=False)
    browser = browserlike(gateway.url)
    browser.get(f"{gateway.url}/sign-in/", timeout=60)
    signed_in = browser.post(
        f"{gateway.url}/sign-in/",
        data={
            "username": person.name,
            "password": person.password,
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
        },
        timeout=60,
    )
    assert signed_in.status_code == 200
    without = browser.post(f"{gateway.url}/api/v1/sessions", json={}, timeout=60)
    assert (without.status_code, without.json()["code"]) == (403, "csrf")
    header = {"X-CSRFToken": browser.cookies["csrftoken"]}
    assert (
        browser.post(f"{gateway.url}/api/v1/sessions", json={}, headers=header, timeout=60).status_code == 201
    )


def test_agents_and_their_models_can_be_read(member):
    # Other stories have made agents too.
    (agent,) = [agent for agent in member.get("/agents").json()["items"] if agent["is_default"]]
    assert agent["slug"] == "assistant"
    assert member.get("/agents/assistant").json() == agent
    profile = member.get(f"/model-profiles/{agent['model_profile']}").json()
    assert profile in member.get("/model-profiles").json()["items"]
    assert "secret_name" not in profile
    assert member.get("/agents/nobody").json()["code"] == "not_found"
    assert member.get("/model-profiles/none").json()["code"] == "not_found"


def test_a_turn_in_the_background_is_accepted_and_waits_for_a_worker(member):
    accepted = member.post("/turns", {"input": "say: later", "background": True})
    assert (accepted.status_code, accepted.json()["state"]) == (202, "queued")
    # This gateway has no worker beside it: nobody took the turn, so it ends at once.
    assert member.post(f"/turns/{accepted.json()['id']}/cancel").json()["state"] == "cancelled"
