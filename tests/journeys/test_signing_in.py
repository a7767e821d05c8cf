"""People sign in with names and passwords; who guesses is stopped, and who only shares a name is not."""

from __future__ import annotations

import dataclasses
import re

import requests
from playwright.sync_api import expect

from tests.client import browserlike
from tests.journeys.gateway import Gateway, Person, another_gateway, free_port
from tests.journeys.page import visiting

SECONDS = 60


def attempt(gateway: Gateway, name: str, password: str, **headers: str) -> requests.Response:
    """One try from a fresh browser, without the redirect that follows."""
    browser = browserlike(gateway.url)
    page = browser.get(f"{gateway.url}/sign-in/", timeout=SECONDS)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    data = {"username": name, "password": password, "csrfmiddlewaretoken": token}
    return browser.post(
        f"{gateway.url}/sign-in/", data=data, headers=headers, allow_redirects=False, timeout=SECONDS
    )


def counted(gateway: Gateway, outcome: str) -> float:
    metrics = requests.get(f"{gateway.url}/metrics", timeout=SECONDS).text
    wanted = rf'^soma_sign_ins_total{{how="password",outcome="{outcome}"}} (\S+)$'
    found = re.search(wanted, metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def disable(gateway: Gateway, person: Person) -> None:
    from somaagent.tenancy.models import User  # noqa: PLC0415 - Django is not configured before

    gateway.in_database(lambda: User.objects.filter(username=person.name).update(is_active=False))


def test_who_guesses_is_stopped_in_words_and_others_are_not(gateway):
    victim, bystander = gateway.newcomer(one_time=False), gateway.newcomer(one_time=False)
    refused, locked = counted(gateway, "refused"), counted(gateway, "locked")
    for number in range(5):
        # No proxy is trusted here: an address that somebody makes up counts for nothing.
        answer = attempt(
            gateway, victim.name.upper(), f"guess {number}", **{"X-Forwarded-For": f"192.0.2.{number}"}
        )
        assert answer.status_code == 200
        assert "do not belong together" in answer.text
    stopped = attempt(gateway, victim.name, "guess 6")
    assert (stopped.status_code, stopped.headers["Retry-After"]) == (429, "300")
    assert "Too many failed attempts. Wait for five minutes" in stopped.text
    assert attempt(gateway, victim.name, victim.password).status_code == 429
    assert attempt(gateway, bystander.name, bystander.password).status_code == 302
    assert counted(gateway, "refused") == refused + 5
    assert counted(gateway, "locked") == locked + 2


def test_attempts_that_succeed_are_not_counted(gateway):
    person = gateway.newcomer(one_time=False)
    for _ in range(7):
        assert attempt(gateway, person.name, person.password).status_code == 302


def test_a_disabled_account_looks_like_a_wrong_password(gateway):
    person, stranger = gateway.newcomer(one_time=False), gateway.newcomer(one_time=False)
    disable(gateway, person)
    disabled = attempt(gateway, person.name, person.password)
    wrong = attempt(gateway, stranger.name, "wrong")
    unknown = attempt(gateway, "nobody-of-that-name", "wrong")
    sentence = re.compile(r'<div class="notice error" role="alert">.*?</div>', re.DOTALL)
    assert disabled.status_code == wrong.status_code == unknown.status_code == 200
    assert (
        sentence.search(disabled.text)[0]
        == sentence.search(wrong.text)[0]
        == sentence.search(unknown.text)[0]
    )


def test_nobody_makes_themselves_an_account(gateway):
    for path in ("/sign-up/", "/signup/", "/accounts/signup/", "/account/signup/"):
        assert requests.get(f"{gateway.url}{path}", timeout=SECONDS).status_code == 404
    assert "sign up" not in requests.get(f"{gateway.url}/sign-in/", timeout=SECONDS).text.lower()


def test_a_program_gets_the_page_whatever_it_accepts(gateway):
    page = requests.get(f"{gateway.url}/sign-in/", headers={"Accept": "application/json"}, timeout=SECONDS)
    assert page.headers["Content-Type"].startswith("text/html")


def test_the_keyboard_is_enough(browser, gateway):
    person = gateway.newcomer(one_time=False)
    with visiting(browser, gateway) as somebody:
        somebody.page.goto(f"{gateway.url}/sign-in/")
        expect(somebody.page.get_by_label("Username")).to_be_focused()
        somebody.page.keyboard.type(person.name)
        somebody.page.keyboard.press("Tab")
        expect(somebody.page.get_by_label("Password")).to_be_focused()
        somebody.page.keyboard.type("a wrong one")
        somebody.page.keyboard.press("Enter")
        expect(somebody.page.get_by_role("alert")).to_contain_text("do not belong together")
        expect(somebody.page.get_by_label("Username")).to_have_value(person.name)
        somebody.page.get_by_label("Password").focus()
        somebody.page.keyboard.type(person.password)
        somebody.page.keyboard.press("Enter")
        expect(somebody.page.get_by_text("No chats yet")).to_be_visible()


def test_nobody_signs_in_where_attempts_cannot_be_counted(gateway, stack, tmp_path):
    person = gateway.newcomer(one_time=False)
    nowhere = {"SA01_VALKEY_PORT": str(free_port())}
    with another_gateway(gateway, stack, tmp_path, settings=nowhere) as url:
        answer = attempt(dataclasses.replace(gateway, url=url), person.name, person.password)
    assert answer.status_code == 503
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "sessionid" not in answer.cookies


def test_an_address_is_what_the_declared_proxies_say(gateway, stack, tmp_path):
    person = gateway.newcomer(one_time=False)
    with another_gateway(gateway, stack, tmp_path, settings={"SA01_TRUSTED_PROXIES": "1"}) as url:
        behind = dataclasses.replace(gateway, url=url)
        for _ in range(5):
            attempt(behind, person.name, "guess", **{"X-Forwarded-For": "198.51.100.7, 192.0.2.66"})
        locked = {"X-Forwarded-For": "203.0.113.5, 192.0.2.66"}
        assert attempt(behind, person.name, person.password, **locked).status_code == 429
        elsewhere = {"X-Forwarded-For": "192.0.2.66, 203.0.113.5"}
        assert attempt(behind, person.name, person.password, **elsewhere).status_code == 302
