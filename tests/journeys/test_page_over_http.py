"""What the page says over HTTP: to whom, with what protection, and how its answers stream."""

from __future__ import annotations

import html
import json
import re
import time
import uuid

import pytest
import requests

from tests.client import browserlike
from tests.journeys.gateway import Gateway, Person
from tests.journeys.house import TIME, calls, house

SECONDS = 60
_FIELD = re.compile(r"^(\w+): (.*)$", re.MULTILINE)


class Reader:
    """Somebody with a browser's cookies, but no browser."""

    def __init__(self, gateway: Gateway, person: Person | None = None) -> None:
        self.url = gateway.url
        self.http = browserlike(self.url)
        if person:
            page = self.get("/sign-in/")
            self.token = token_of(page)
            credentials = {"username": person.name, "password": person.password}
            signed_in = self.post("/sign-in/", data=credentials | {"csrfmiddlewaretoken": self.token})
            assert signed_in.status_code == 302
            self.token = self.http.cookies["csrftoken"]

    def get(self, path: str, **arguments) -> requests.Response:
        return self.http.get(f"{self.url}{path}", allow_redirects=False, timeout=SECONDS, **arguments)

    def post(self, path: str, **arguments) -> requests.Response:
        return self.http.post(f"{self.url}{path}", allow_redirects=False, timeout=SECONDS, **arguments)

    def ask(self, text: str) -> dict[str, str]:
        answer = self.post("/api/v1/turns", json={"input": text}, headers={"X-CSRFToken": self.token})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def rendered(self, turn: dict[str, str], **headers: str) -> list[tuple[int, str, dict]]:
        with self.get(f"/turns/{turn['id']}/render", stream=True, headers=headers) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            events = [dict(_FIELD.findall(event)) for event in answer.text.split("\n\n")]
        return [(int(e["id"]), e["event"], json.loads(e["data"])) for e in events if "data" in e]


def token_of(page: requests.Response) -> str:
    return re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]


@pytest.fixture(scope="module")
def reader(gateway: Gateway) -> Reader:
    return Reader(gateway, gateway.newcomer(one_time=False))


@pytest.fixture(scope="module")
def stranger(gateway: Gateway) -> Reader:
    return Reader(gateway, gateway.newcomer(one_time=False))


def test_who_has_not_signed_in_is_sent_to_do_so(gateway):
    nobody = Reader(gateway)
    for path in ("/", "/?archived", "/chats/", f"/chats/{uuid.uuid4()}/", "/account/password/"):
        answer = nobody.get(path)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/sign-in/?next=/")
    assert nobody.get(f"/turns/{uuid.uuid4()}/render").status_code == 401


def test_an_api_key_opens_no_page(gateway):
    nobody = Reader(gateway)
    headers = {"Authorization": f"Bearer {gateway.operator.api_key}"}
    assert nobody.get("/", headers=headers).status_code == 302
    assert nobody.get("/admin/", headers=headers).status_code == 302


def test_signing_in_goes_on_to_this_server_only(gateway):
    person = gateway.newcomer(one_time=False)
    for then, place in (("/chats/", "/chats/"), ("https://evil.invalid/", "/"), ("//evil.invalid", "/")):
        somebody = Reader(gateway)
        data = {"username": person.name, "password": person.password, "next": then}
        data["csrfmiddlewaretoken"] = token_of(somebody.get("/sign-in/"))
        assert somebody.post("/sign-in/", data=data).headers["Location"] == place


def test_writing_needs_the_token_of_the_page(reader):
    assert reader.post("/sign-out/").status_code == 403
    assert reader.post("/api/v1/turns", json={"input": "say: no"}).status_code == 403
    assert reader.get("/sign-out/").status_code == 405


def test_pages_allow_no_inline_script_or_style_and_are_not_kept(reader):
    for path in ("/", "/sign-in/", "/account/password/", "/no-such-page/"):
        page = Reader.get(reader, path)
        policy = page.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'self'" in policy
        assert page.headers["X-Frame-Options"] == "DENY"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"<style|<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=", page.text)
    assert "no-store" in reader.get("/").headers["Cache-Control"]


def test_what_is_anothers_looks_like_what_does_not_exist(reader, stranger):
    turn = reader.ask("say: private")
    for path in ("/chats/{}/", "/chats/{}/entries/"):
        theirs = stranger.get(path.format(turn["session_id"]))
        missing = stranger.get(path.format(uuid.uuid4()))
        assert (theirs.status_code, missing.status_code) == (404, 404)
        request_id = re.compile(r"<code>[^<]+</code>")
        assert request_id.sub("", theirs.text) == request_id.sub("", missing.text)
        assert "private" not in theirs.text
    assert stranger.get(f"/turns/{turn['id']}/render").status_code == 404


def test_nonsense_is_refused_in_words(reader):
    assert reader.get("/chats/?cursor=nonsense").status_code == 422
    assert reader.get(f"/chats/?cursor={uuid.uuid4()}").status_code == 422
    assert reader.get("/turns/nonsense/render").status_code == 404
    turn = reader.ask("say: hello")
    assert reader.get(f"/turns/{turn['id']}/render", headers={"Last-Event-ID": "-1"}).status_code == 422
    data = {"username": "a\x00b", "password": "x", "csrfmiddlewaretoken": reader.token}
    assert Reader.post(reader, "/account/password/", data=data).status_code == 200


def test_an_answer_streams_as_html_that_grows(reader):
    turn = reader.ask("slow 0.15: " + " ".join(f"**w{n}**" for n in range(20)) + "\n\nend")
    events = reader.rendered(turn)
    kinds = [kind for _, kind, _ in events]
    assert kinds[-1] == "done"
    assert set(kinds[:-1]) == {"render"}
    assert len(kinds) > 4
    assert [number for number, _, _ in events] == sorted({number for number, _, _ in events})
    page: list[str] = []
    for _, _, data in events[:-1]:
        page[data["start"] :] = data["html"]
        assert page[0].startswith("<p><strong>w0</strong>") or "w0" in page[0]
    whole = events[-1][2]["html"]
    assert "<strong>w19</strong></p>\n<p>end</p>" in whole
    assert 'data-state="completed"' in whole


def test_a_browser_that_comes_back_after_the_end_is_told_to_stop(reader):
    turn = reader.ask("say: quick")
    last = reader.rendered(turn)[-1][0]
    answer = reader.get(f"/turns/{turn['id']}/render", headers={"Last-Event-ID": str(last)})
    assert (answer.status_code, answer.content) == (204, b"")
    again = reader.rendered(turn, **{"Last-Event-ID": "1"})
    assert again[-1][1] == "done"


def test_a_very_long_answer_is_rendered_at_a_bounded_cost(reader):
    paragraphs = "\n\n".join(f"Paragraph {n} has *some* words." for n in range(3000))
    turn = reader.ask(f"say: {paragraphs}")
    sent = reader.rendered(turn)
    live = sum(len(json.dumps(data)) for _, kind, data in sent if kind == "render")
    assert live < 4 * len(paragraphs)
    assert "Paragraph 2999" in html.unescape(sent[-1][2]["html"])


def test_a_form_without_its_token_is_refused_on_a_page_of_ours(gateway):
    nobody = Reader(gateway)
    refused = nobody.post("/sign-in/", data={"username": "somebody", "password": "something"})
    assert refused.status_code == 403
    assert "reload it" in refused.text
    assert refused.headers["X-Request-ID"] in refused.text


def test_questions_are_answered_by_their_own_reader_with_a_token(gateway, stranger):
    gateway.model.reset()
    home = house(gateway)
    reader, owner = Reader(gateway, home.member), Reader(gateway, home.owner)
    path = f"/turns/{reader.ask(calls(TIME))['id']}/calls/"
    until = time.monotonic() + SECONDS
    while "Approve" not in (shown := reader.get(path)).text:
        assert time.monotonic() < until, shown.text
        time.sleep(0.1)
    call_id = re.search(r'name="call_id" value="([^"]+)"', shown.text)[1]
    form = {"call_id": call_id, "decision": "approve"}
    token = {"X-CSRFToken": reader.token}

    assert Reader(gateway).get(path).status_code == 401
    for other in (stranger, owner):
        assert other.get(path).status_code == 404
        assert other.post(path, data=form, headers={"X-CSRFToken": other.token}).status_code == 404
    assert reader.post(path, data=form).status_code == 403
    for wrong, field in (
        ({"decision": "perhaps"}, "body.decision"),
        ({"call_id": "another"}, "body.calls.0.call_id"),
        ({"reason": "x" * 501}, "body.reason"),
        ({"arguments": "[1]"}, "body.arguments"),
        ({"arguments": '{"zone": 1}'}, "body.calls.0.arguments"),
        ({"surplus": "1"}, "body.surplus"),
    ):
        refused = reader.post(path, data=form | wrong, headers=token)
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json()["errors"]] == [field]
    for _ in range(2):
        answered = reader.post(path, data=form, headers=token)
        assert answered.status_code == 200
        assert "Approved by you" in answered.text
    again = reader.post(path, data=form | {"decision": "deny"}, headers=token)
    assert (again.status_code, again.json()["code"]) == (409, "already_answered")
