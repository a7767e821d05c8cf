"""Both lanes of the gateway do as Django does: each story is told to Django's own ASGI handler too."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from typing import Any

import pytest
from django.core import signals
from django.core.asgi import get_asgi_application
from django.test import override_settings
from prometheus_client import REGISTRY

from somaagent.tenancy.scope import in_database
from somaagent.web import lanes
from tests.factories import key_of, organisation
from tests.integration.web import site
from tests.integration.web.conftest import SITE
from tests.integration.web.talking import Client, started

pytestmark = pytest.mark.django_db(transaction=True)

LANES = pytest.mark.parametrize("lane", ["plain", "coroutine"])


@LANES
async def test_a_view_sees_its_request_and_its_answer_arrives_whole(client: Client, lane: str):
    answer = await client.ask(f"/{lane}?mark=one&x=%C3%A4", x_story="told", cookie="a=1; b=2")
    told = answer.facts
    assert answer.status == 200
    assert (told["method"], told["path"], told["query"]) == ("GET", f"/{lane}", {"mark": "one", "x": "ä"})
    assert (told["cookies"], told["header"]) == ({"a": "1", "b": "2"}, "told")
    assert (told["scheme"], told["host"]) == ("http", "testserver")
    assert answer["x-of-view"] == "grüezi"
    cookies = [value for name, value in answer.headers if name == "set-cookie"]
    assert cookies == ["first=1; HttpOnly; Path=/", "second=2; Path=/"]


async def test_both_lanes_send_the_same_headers(client: Client):
    plain, coroutine = await client.ask("/plain"), await client.ask("/coroutine")
    names = {name for name, _ in plain.headers}
    assert {name for name, _ in coroutine.headers} == names
    assert names > {
        "content-security-policy",
        "cross-origin-opener-policy",
        "referrer-policy",
        "x-content-type-options",
        "x-frame-options",
        "x-request-id",
    }
    for name in names - {"x-request-id", "content-length"}:
        assert plain[name] == coroutine[name]


@LANES
async def test_the_caller_s_request_id_is_kept(client: Client, lane: str):
    assert (await client.ask(f"/{lane}", x_request_id="abcdefgh-1"))["x-request-id"] == "abcdefgh-1"


async def test_each_view_runs_in_its_lane(ours: Client):
    async def where(path: str, method: str = "GET") -> str:
        told = (await ours.ask(path, method)).facts
        assert told["in_loop"] == (not told["thread"].startswith("sync-lane"))
        return "event loop" if told["in_loop"] else "thread"

    assert await where("/plain") == "thread"
    assert await where("/coroutine") == "event loop"
    assert await where("/class") == "event loop"
    # One address of ninja's with an operation of each kind.
    assert await where("/v1/things") == "thread"
    assert await where("/v1/things", "POST") == "event loop"


async def test_an_operation_of_the_api_asks_who_calls_where_it_runs(ours: Client):
    acme = await in_database(organisation)
    key = await in_database(key_of, acme.owner)
    answer = await ours.ask("/v1/mine", authorization=f"Bearer {key}")
    assert (answer.status, answer.facts) == (200, {"user": str(acme.owner.user_id)})
    assert site.seen == [f"asked in {threading.current_thread().name}"]


async def test_what_has_no_view_is_answered_as_ever(client: Client):
    assert (await client.ask("/nothing")).status == 404
    assert b"<html" in (await client.ask("/nothing")).body
    assert (await client.ask("/api/nothing")).facts["code"] == "not_found"
    refused = await client.ask("/v1/things", "DELETE")
    assert (refused.status, set(refused["allow"].split(", "))) == (405, {"GET", "POST"})
    assert refused.facts["error"]["code"] == "method_not_allowed"


@LANES
@pytest.mark.parametrize(
    ("kind", "status"), [("missing", 404), ("forbidden", 403), ("suspicious", 400), ("crash", 500)]
)
async def test_exceptions_become_answers(client: Client, lane: str, kind: str, status: int):
    crashes: list[Any] = []

    def note(sender: Any, **facts: Any) -> None:
        crashes.append(facts["request"].path)

    signals.got_request_exception.connect(note)
    try:
        answer = await client.ask(f"/{lane}/raise/{kind}")
    finally:
        signals.got_request_exception.disconnect(note)
    assert answer.status == status
    assert b"by hand" not in answer.body
    assert "x-request-id" in dict(answer.headers)
    assert crashes == ([f"/{lane}/raise/crash"] if kind == "crash" else [])


@LANES
async def test_a_foreign_host_is_refused(client: Client, lane: str):
    answer = await client.ask(f"/{lane}", host="evil.invalid")
    assert answer.status == 400
    assert "x-request-id" in dict(answer.headers)


@LANES
@pytest.mark.parametrize("kind", ["functions", "coroutines"])
async def test_signals_come_once_each_in_order(client: Client, lane: str, kind: str):
    told: list[str] = []

    def begun(sender: Any, **facts: Any) -> None:
        told.append(f"begun {facts['scope']['path']}")

    def ended(sender: Any, **facts: Any) -> None:
        told.append("ended")

    async def begun_coroutine(sender: Any, **facts: Any) -> None:
        begun(sender, **facts)

    async def ended_coroutine(sender: Any, **facts: Any) -> None:
        ended(sender, **facts)

    first, last = (begun, ended) if kind == "functions" else (begun_coroutine, ended_coroutine)
    signals.request_started.connect(first)
    signals.request_finished.connect(last)
    try:
        await client.ask(f"/{lane}")
        assert told == [f"begun /{lane}", "ended"]
        await client.ask(f"/{lane}/stream")
        assert told[2:] == [f"begun /{lane}/stream", "ended"]
    finally:
        signals.request_started.disconnect(first)
        signals.request_finished.disconnect(last)


@LANES
async def test_middleware_is_passed_in_order(the_site: None, lane: str):
    with override_settings(MIDDLEWARE=[f"{SITE}.outer", f"{SITE}.inner"]):
        for application in (get_asgi_application(), lanes.Gateway()):
            site.seen.clear()
            await Client(application).ask(f"/{lane}")
            assert site.seen == ["outer before", "inner before", "inner after", "outer after"]


@LANES
async def test_uploads_arrive_whole(client: Client, lane: str):
    content = bytes(range(256)) * 20_000
    head = b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n--b\r\n'
    head += b'Content-Disposition: form-data; name="file"; filename="x.bin"\r\n\r\n'
    body = head + content + b"\r\n--b--\r\n"
    pieces = tuple(body[start : start + 65_536] for start in range(0, len(body), 65_536))
    answer = await client.ask(
        f"/{lane}/upload",
        "POST",
        pieces,
        content_type="multipart/form-data; boundary=b",
        content_length=str(len(body)),
    )
    assert answer.facts == {
        "size": len(content),
        "digest": hashlib.sha256(content).hexdigest(),
        "name": "x.bin",
        "note": "hello",
    }
    # A chunked body, whose length nobody told.
    chunked = await client.ask(f"/{lane}/upload", "POST", (b"a" * 70_000, b"b"), content_type="text/plain")
    assert chunked.facts["size"] == 70_001


@LANES
async def test_a_client_that_leaves_in_its_upload_reaches_no_view(client: Client, lane: str):
    talk = client.begin(f"/{lane}", "POST")
    await talk.send_input({"type": "http.request", "body": b"a", "more_body": True})
    await talk.send_input({"type": "http.disconnect"})
    await talk.wait(10)
    assert await talk.receive_nothing()


@LANES
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")
async def test_streams_arrive_in_pieces_and_are_closed(client: Client, lane: str):
    answer = await client.ask(f"/{lane}/stream")
    assert answer.body == b"0 1 2 3 4 5 6 7 8 9 "
    assert len(answer.pieces) >= 10
    assert site.seen == ["stream closed"]


@LANES
async def test_a_stream_ends_when_its_client_leaves(client: Client, lane: str):
    ended = asyncio.Event()

    async def note(sender: Any, **facts: Any) -> None:
        ended.set()

    signals.request_finished.connect(note)
    try:
        talk = client.begin(f"/{lane}/endless")
        await talk.send_input({"type": "http.request"})
        assert (await started(talk)).status == 200
        await talk.receive_output(10)
        await talk.send_input({"type": "http.disconnect"})
        await asyncio.wait_for(ended.wait(), 10)
        await talk.wait(10)
    finally:
        signals.request_finished.disconnect(note)
    assert site.seen == ["stream closed"]


async def test_an_iterator_has_a_thread_of_its_own_and_is_closed_there(ours: Client):
    talks = [ours.begin("/plain/endless-iterator") for _ in range(2 * lanes.THREADS)]
    for talk in talks:
        await talk.send_input({"type": "http.request"})
        await started(talk)
    threads = {(await talk.receive_output(10))["body"] for talk in talks}
    assert threads == {b"sync-stream_0"}
    # None of the lane's threads is kept busy.
    assert (await ours.ask("/plain")).status == 200
    for talk in talks:
        await talk.send_input({"type": "http.disconnect"})
        await talk.wait(10)
    assert site.seen == ["closed in sync-stream_0"] * len(talks)


@LANES
async def test_a_form_needs_its_token(client: Client, lane: str):
    assert (await client.ask(f"/{lane}", "POST")).status == 403


async def test_a_coroutine_is_cancelled_when_its_client_leaves(client: Client):
    talk = client.begin("/coroutine/patient")
    await talk.send_input({"type": "http.request"})
    await asyncio.wait_for(site.begun.wait(), 10)
    await talk.send_input({"type": "http.disconnect"})
    await talk.wait(10)
    assert site.seen == ["view cancelled"]
    assert await talk.receive_nothing()


async def test_and_when_the_server_cancels_the_request(ours: Client):
    talk = ours.begin("/coroutine/patient")
    await talk.send_input({"type": "http.request"})
    await asyncio.wait_for(site.begun.wait(), 10)
    talk.future.cancel()
    await asyncio.wait([talk.future], timeout=60)
    assert site.seen == ["view cancelled"]


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")
async def test_a_file_is_sent_and_closed(client: Client):
    answer = await client.ask("/plain/file")
    assert answer.body == b"x" * 200_000
    assert answer["content-length"] == "200000"
    assert answer["content-disposition"] == 'attachment; filename="x.bin"'
    assert site.seen == ["file closed"]


@LANES
async def test_deferred_templates_are_rendered(client: Client, lane: str):
    assert (await client.ask(f"/{lane}/template")).body == b"from the view"


@LANES
async def test_nothing_is_carried_from_one_request_to_the_next(client: Client, lane: str):
    for mark in ("one", "two", "three") * 3:
        assert (await client.ask(f"/{lane}?mark={mark}")).facts["mark_before"] == "nothing"
    assert site.mark.get() == "nothing"


@LANES
async def test_no_connection_keeps_a_tenant(client: Client, lane: str):
    tenant = (await in_database(organisation)).tenant.id
    requests = (client.ask(f"/{lane}/leave?tenant={tenant}") for _ in range(16))
    assert {answer.status for answer in await asyncio.gather(*requests)} == {500}
    looks = await asyncio.gather(*(client.ask(f"/{lane}/look") for _ in range(16)))
    assert all(answer.facts == {"rows": 0, "open": False} for answer in looks)


@LANES
async def test_both_lanes_count_the_same_metrics(ours: Client, lane: str):
    def counted() -> float:
        labels = {"status": "200", "view": lane, "method": "GET"}
        name = "django_http_responses_total_by_status_view_method_total"
        return REGISTRY.get_sample_value(name, labels) or 0.0

    before = counted()
    await ours.ask(f"/{lane}")
    assert counted() == before + 1


@pytest.mark.parametrize("path", ["/static/chat/icons.svg", "/static/nothing.css"])
async def test_static_files_need_no_thread_of_the_lane(monkeypatch: pytest.MonkeyPatch, path: str):
    monkeypatch.setattr(lanes, "MOST_WAITING", -lanes.THREADS)
    with override_settings(SERVESTATIC_USE_FINDERS=True):
        answer = await Client(lanes.Gateway()).ask(path)
    assert answer.status == (404 if "nothing" in path else 200)
    assert "x-request-id" in dict(answer.headers)


async def test_too_many_requests_for_the_threads_are_told_to_come_back(
    ours: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lanes, "MOST_WAITING", -lanes.THREADS)
    answer = await ours.ask("/plain")
    assert (answer.status, answer.facts["code"], answer["retry-after"]) == (503, "overloaded", "1")
    assert "x-request-id" in dict(answer.headers)
    assert (await ours.ask("/coroutine")).status == 200
