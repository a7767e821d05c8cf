"""Schedules over HTTP: made once, listed, changed, run by hand, deleted; and who may not."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
import requests

pytestmark = pytest.mark.django_db(transaction=True)

MORNING = {"prompt": "say: good morning", "cron": "0  8 * * MON-FRI", "time_zone": "Europe/Paris"}


@pytest.fixture
def call(gateway):
    """Requests of a newcomer, or of whoever's ``key`` it is."""
    own = gateway.newcomer(one_time=False).api_key

    def call(method: str, path: str = "", key: str = own, **facts) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"} | facts.pop("headers", {})
        url = f"{gateway.url}/api/v1/schedules{path}"
        return requests.request(method, url, headers=headers, timeout=20, **facts)

    return call


def viewer_s_key() -> str:
    from somaagent.tenancy.models import Role, Tenant  # noqa: PLC0415 - Django is not configured before
    from tests import factories  # noqa: PLC0415 - as above

    return factories.key_of(factories.person("viewer", Tenant.objects.order_by("id")[0], Role.VIEWER))


def foreign_key() -> str:
    from tests import factories  # noqa: PLC0415 - Django is not configured before

    return factories.key_of(factories.organisation("outside").owner)


def field_of(answer: requests.Response) -> tuple[int, str, str]:
    problem = answer.json()
    return answer.status_code, problem["code"], problem["errors"][0]["field"]


def test_the_life_of_a_schedule(call):
    made = call("POST", json=MORNING, headers={"Idempotency-Key": "once"})
    assert made.status_code == 201
    schedule = made.json()
    assert (schedule["cron"], schedule["agent"]) == ("0 8 * * MON-FRI", "assistant")
    assert (schedule["name"], schedule["enabled"], schedule["paused"]) == ("say: good morning", True, None)
    assert datetime.fromisoformat(schedule["next_run_at"]) > datetime.now(UTC)
    again = call("POST", json=MORNING, headers={"Idempotency-Key": "once"})
    assert again.json()["id"] == schedule["id"]
    other = call("POST", json=MORNING | {"prompt": "Else"}, headers={"Idempotency-Key": "once"})
    assert field_of(other) == (422, "idempotency_key_reused", "header.Idempotency-Key")
    newer = call("POST", json=MORNING | {"name": "Second"}).json()
    assert [item["id"] for item in call("GET").json()["items"]] == [newer["id"], schedule["id"]]
    path = f"/{schedule['id']}"
    paused = call("PATCH", path, json={"enabled": False, "name": "Later"}).json()
    assert (paused["name"], paused["enabled"], paused["next_run_at"]) == ("Later", False, None)
    assert call("PATCH", path, json={"enabled": True}).json()["next_run_at"] == schedule["next_run_at"]
    assert call("GET", path).json()["name"] == "Later"
    assert call("DELETE", path).status_code == 204
    assert call("GET", path).status_code == call("DELETE", path).status_code == 404
    assert [item["id"] for item in call("GET").json()["items"]] == [newer["id"]]


def test_run_now_is_an_ordinary_turn_and_stays_when_its_schedule_goes(gateway, call):
    schedule = call("POST", json=MORNING | {"enabled": False}).json()
    path = f"/{schedule['id']}"
    asked = [call("POST", f"{path}/runs", headers={"Idempotency-Key": "now"}) for _ in range(2)]
    assert [answer.status_code for answer in asked] == [202, 202]
    run, again = [answer.json() for answer in asked]
    assert (run["id"], run["outcome"], run["planned_at"]) == (again["id"], "submitted", None)
    (listed,) = call("GET", f"{path}/runs").json()["items"]
    assert (listed["turn_id"], listed["turn_state"]) == (run["turn_id"], "queued")
    assert call("GET", path).json()["last_turn_id"] == run["turn_id"]
    turn = call("GET", f"/../turns/{run['turn_id']}").json()
    assert turn["id"] == run["turn_id"]
    assert call("DELETE", path).status_code == 204
    assert call("GET", f"/../turns/{run['turn_id']}").json() == turn
    assert call("GET", f"/../sessions/{turn['session_id']}").json()["title"] == "say: good morning"


def test_the_next_five_runs(call):
    asked = {"cron": "30 2 * * *", "time_zone": "Europe/Berlin"}
    preview = call("GET", "/preview", params=asked).json()
    runs = [datetime.fromisoformat(run["at"]) for run in preview["runs"]]
    assert len(runs) == 5
    assert runs == sorted(runs)
    for run, moment in zip(preview["runs"], runs, strict=True):
        assert datetime.fromisoformat(run["local"]) == moment
    wrong = call("GET", "/preview", params=asked | {"cron": "30 2 * *"})
    assert field_of(wrong) == (422, "cron_invalid", "query.cron")


@pytest.mark.parametrize(
    ("wrong", "code", "field"),
    [
        ({"cron": "0 8 * * FUNDAY"}, "cron_invalid", "body.cron"),
        ({"cron": "*/10 * * * * *"}, "cron_invalid", "body.cron"),
        ({"cron": "0 0 30 2 *"}, "cron_invalid", "body.cron"),
        ({"time_zone": "Mars/Phobos"}, "time_zone_unknown", "body.time_zone"),
        ({"agent": "nobody"}, "agent_unknown", "body.agent"),
        ({"prompt": " \n"}, "invalid", "body.prompt"),
        ({"session_policy": "shared"}, "invalid", "body.session_policy"),
        ({"every": "day"}, "invalid", "body.every"),
    ],
)
def test_what_is_wrong_is_named(call, wrong, code, field):
    assert field_of(call("POST", json=MORNING | wrong)) == (422, code, field)
    schedule = call("POST", json=MORNING).json()
    assert field_of(call("PATCH", f"/{schedule['id']}", json=wrong)) == (422, code, field)
    assert call("GET", f"/{schedule['id']}").json() == schedule


def test_a_prompt_as_long_as_no_message_may_be(call):
    answer = call("POST", json=MORNING | {"prompt": "x" * 300_000})
    assert field_of(answer) == (413, "message_too_long", "body.prompt")


def test_who_only_reads_makes_and_runs_none(gateway, call):
    schedule = call("POST", json=MORNING).json()
    viewer = gateway.in_database(viewer_s_key)
    for method, path in (
        ("POST", ""),
        ("PATCH", f"/{schedule['id']}"),
        ("DELETE", f"/{schedule['id']}"),
        ("POST", f"/{schedule['id']}/runs"),
    ):
        refused = call(method, path, key=viewer, json=MORNING)
        assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert call("GET", key=viewer).json()["items"] == []


def test_another_s_schedule_looks_like_one_that_does_not_exist(gateway, call):
    schedule = call("POST", json=MORNING).json()
    colleague = gateway.newcomer(one_time=False).api_key
    for key in (colleague, gateway.in_database(foreign_key)):
        for method, rest in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/runs"), ("POST", "/runs")):
            bodies = []
            for schedule_id in (schedule["id"], uuid.uuid4()):
                facts = {"json": {"name": "Mine"}} if method == "PATCH" else {}
                answer = call(method, f"/{schedule_id}{rest}", key=key, **facts)
                assert answer.status_code == 404
                bodies.append(answer.json() | {"request_id": ""})
            assert bodies[0] == bodies[1]
    assert call("GET", f"/{schedule['id']}").json() == schedule
