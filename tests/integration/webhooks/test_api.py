"""What a program does with its webhooks over the API."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import Client

from apps.chat.webhooks.services import MOST_WEBHOOKS
from somaagent.tenancy.actor import Actor
from tests.factories import key_of, organisation, person

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Program:
    """A caller with an API key."""

    key: str

    def call(self, method: str, path: str = "", body: Any = None, **headers: str) -> Any:
        client = Client(
            headers={
                "host": settings.ALLOWED_HOSTS[0],
                "authorization": f"Bearer {self.key}",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            }
        )
        return client.generic(
            method,
            f"/api/v1/webhooks{path}",
            data=b"" if body is None else json.dumps(body),
            content_type="application/json",
        )

    def get(self, path: str = "") -> Any:
        return self.call("GET", path)

    def post(self, path: str = "", body: Any = None, **headers: str) -> Any:
        return self.call("POST", path, body, **headers)


def program_of(actor: Actor) -> Program:
    return Program(key_of(actor))


@pytest.fixture
def program(acme) -> Program:
    return program_of(acme.owner)


def test_made_once_shown_without_its_secret_changed_and_deleted(program, receiver):
    body = {"url": receiver.url, "events": ["turn.failed", "turn.completed"]}
    made = program.post(body=body, idempotency_key="hook-1")
    assert made.status_code == 201
    webhook = made.json()
    assert webhook["secret"].startswith("whsec_")
    assert webhook["events"] == ["turn.completed", "turn.failed"]
    assert (webhook["enabled"], webhook["disabled_reason"]) == (True, "")
    assert program.post(body=body, idempotency_key="hook-1").json() == webhook
    other = {**body, "events": ["turn.failed"]}
    assert program.post(body=other, idempotency_key="hook-1").json()["code"] == "idempotency_key_reused"

    path = f"/{webhook['id']}"
    assert program.get().json()["items"] == [program.get(path).json()]
    assert "secret" not in program.get(path).json()
    changed = program.call("PATCH", path, {"events": ["turn.cancelled"], "enabled": False}).json()
    assert (changed["events"], changed["enabled"], changed["url"]) == (
        ["turn.cancelled"],
        False,
        receiver.url,
    )
    assert program.call("DELETE", path).status_code == 204
    assert program.get(path).status_code == 404


def test_what_cannot_be_taken_is_told_by_its_field(program):
    for body, field in (
        ({"url": "http://192.168.0.1/"}, "body.url"),
        ({"url": "not a url"}, "body.url"),
        ({"url": "https://user:password@example.org/"}, "body.url"),
        ({"url": "https://example.org/", "events": []}, "body.events"),
        ({"url": "https://example.org/", "events": ["turn.started"]}, "body.events.0"),
        ({"url": "https://example.org/", "secret": "mine"}, "body.secret"),
        ({}, "body.url"),
    ):
        refused = program.post(body=body)
        assert refused.status_code == 422, refused.content
        assert [error["field"] for error in refused.json()["errors"]] == [field]
    made = program.post(body={"url": "https://example.org/"}).json()
    refused = program.call("PATCH", f"/{made['id']}", {"url": "http://[::1]/"})
    assert (refused.status_code, refused.json()["code"]) == (422, "url_not_public")


def test_a_test_message_is_sent_seen_and_sent_again(program, story, receiver):
    webhook = program.post(body={"url": receiver.url}).json()
    path = f"/{webhook['id']}"
    sent = program.post(f"{path}/test", idempotency_key="test-1")
    assert sent.status_code == 202
    assert program.post(f"{path}/test", idempotency_key="test-1").json()["id"] == sent.json()["id"]
    story.deliver()
    message = receiver.came[0].verified(webhook["secret"])
    assert (message["type"], message["data"]) == ("webhook.test", {"webhook_id": webhook["id"]})

    story.turn()
    story.deliver()
    newest, first = program.get(f"{path}/deliveries").json()["items"]
    assert (newest["event"], newest["state"], newest["attempts"]) == ("turn.completed", "delivered", 1)
    assert (first["id"], first["last_status"], first["turn_id"]) == (sent.json()["id"], 200, None)
    page = program.get(f"{path}/deliveries?limit=1").json()
    assert [each["id"] for each in page["items"]] == [page["next"]] == [newest["id"]]

    again = program.post(f"{path}/deliveries/{first['id']}/redeliver")
    assert (again.status_code, again.json()["state"]) == (202, "pending")
    story.deliver()
    assert receiver.came[-1].headers["webhook-id"] == first["id"]

    program.call("PATCH", path, {"enabled": False})
    for refused in (program.post(f"{path}/test"), program.post(f"{path}/deliveries/{first['id']}/redeliver")):
        assert (refused.status_code, refused.json()["code"]) == (409, "webhook_disabled")


def test_a_rotated_secret_is_the_one_that_counts(program, story, receiver):
    first = program.post(body={"url": receiver.url}).json()
    rotated = program.post(f"/{first['id']}/rotate-secret")
    assert rotated.status_code == 200
    second = rotated.json()
    assert (second["id"], second["secret"] != first["secret"]) == (first["id"], True)
    story.turn()
    story.deliver()
    for secret in (first["secret"], second["secret"]):
        receiver.came[0].verified(secret)


def test_others_find_nothing_and_change_nothing(program, acme, story, receiver):
    webhook = program.post(body={"url": receiver.url}).json()
    story.turn()
    story.deliver()
    [delivery] = program.get(f"/{webhook['id']}/deliveries").json()["items"]
    outsiders = (person("colleague", acme.tenant), organisation("other").owner)
    for outsider in map(program_of, outsiders):
        assert outsider.get().json()["items"] == []
        nothing = outsider.get(f"/{uuid4()}").json()["detail"]
        path = f"/{webhook['id']}"
        for answer in (
            outsider.get(path),
            outsider.call("PATCH", path, {"enabled": False}),
            outsider.call("DELETE", path),
            outsider.post(f"{path}/rotate-secret"),
            outsider.post(f"{path}/test"),
            outsider.get(f"{path}/deliveries"),
            outsider.post(f"{path}/deliveries/{delivery['id']}/redeliver"),
        ):
            assert (answer.status_code, answer.json()["detail"]) == (404, nothing)
    assert program.get(f"/{webhook['id']}").json()["enabled"]
    own = program.post(body={"url": receiver.url}).json()
    crossed = program.post(f"/{own['id']}/deliveries/{delivery['id']}/redeliver")
    assert crossed.status_code == 404


def test_a_user_has_so_many_and_no_more(program, acme):
    for number in range(MOST_WEBHOOKS):
        assert program.post(body={"url": f"https://example.org/{number}"}).status_code == 201
    refused = program.post(body={"url": "https://example.org/more"})
    assert (refused.status_code, refused.json()["code"]) == (409, "webhooks_too_many")
    colleague = program_of(person("colleague", acme.tenant))
    assert colleague.post(body={"url": "https://example.org/"}).status_code == 201


def test_a_key_that_may_only_read_makes_none(acme):
    reader = Program(key_of(acme.owner, scopes=["read"]))
    assert reader.get().status_code == 200
    assert reader.post(body={"url": "https://example.org/"}).status_code == 403
