"""Somebody sees where they are signed in, and ends it."""

from __future__ import annotations

import re

import pytest
import requests
from playwright.sync_api import expect

from tests.client import browserlike
from tests.journeys.gateway import Gateway, Person
from tests.journeys.page import visiting

SECONDS = 60


class Elsewhere:
    """Another browser of a person, signed in."""

    def __init__(self, gateway: Gateway, person: Person, name: str) -> None:
        self.url = gateway.url
        self.http = browserlike(self.url)
        self.http.headers["User-Agent"] = name
        page = self.http.get(f"{self.url}/sign-in/", timeout=SECONDS)
        data = {"username": person.name, "password": person.password, "csrfmiddlewaretoken": token_of(page)}
        assert "New chat" in self.http.post(f"{self.url}/sign-in/", data=data, timeout=SECONDS).text

    def signed_in(self) -> bool:
        return "New chat" in self.http.get(f"{self.url}/", timeout=SECONDS).text

    def sessions(self) -> requests.Response:
        return self.http.get(f"{self.url}/account/sessions/", timeout=SECONDS)

    def end(self, which: str) -> requests.Response:
        data = {"end": which, "csrfmiddlewaretoken": token_of(self.sessions())}
        return self.http.post(f"{self.url}/account/sessions/", data=data, timeout=SECONDS)


def token_of(page: requests.Response) -> str:
    return re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]


@pytest.fixture
def person(gateway) -> Person:
    return gateway.newcomer(one_time=False)


def test_sessions_are_listed_and_ended_one_by_one_or_all(browser, gateway, person):
    phone, laptop, library = (Elsewhere(gateway, person, name) for name in ("Phone", "Laptop", "Library"))
    with visiting(browser, gateway) as somebody:
        somebody.sign_in(person)
        page = somebody.page
        page.get_by_role("button", name=person.name).click()
        page.get_by_role("link", name="Where you are signed in").click()
        listed = page.locator(".session-list li")
        expect(listed).to_have_count(4)
        expect(listed.first).to_contain_text("this browser")
        listed.filter(has_text="Library").get_by_role("button", name="Sign it out").press("Enter")
        expect(listed).to_have_count(3)
        assert [each.signed_in() for each in (phone, laptop, library)] == [True, True, False]
        page.get_by_role("button", name="Sign out everywhere else").click()
        expect(listed).to_have_count(1)
        assert [each.signed_in() for each in (phone, laptop)] == [False, False]
        page.get_by_role("button", name="Sign out here").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_changed_password_ends_every_other_session(browser, gateway, person):
    phone = Elsewhere(gateway, person, "Phone")
    with visiting(browser, gateway) as somebody:
        somebody.sign_in(person)
        somebody.page.goto(f"{gateway.url}/account/password/")
        somebody.choose_password(person.password)
        expect(somebody.page.get_by_text("No chats yet")).to_be_visible()
        assert not phone.signed_in()
        somebody.page.goto(f"{gateway.url}/account/sessions/")
        expect(somebody.page.locator(".session-list li")).to_have_count(1)
        expect(somebody.page.locator(".session-list li")).to_contain_text("this browser")


def test_anothers_session_looks_like_none(gateway, person):
    mine = Elsewhere(gateway, person, "Mine")
    other = Elsewhere(gateway, gateway.newcomer(one_time=False), "Theirs")
    theirs = re.search(r'name="end" value="(\d+)"', other.sessions().text)[1]
    assert "Theirs" not in mine.sessions().text
    for which in (theirs, "999999999", "9" * 30, "-1", "nonsense", ""):
        assert mine.end(which).status_code == 404
    assert other.signed_in()
    assert mine.http.cookies["sessionid"] not in mine.sessions().text
