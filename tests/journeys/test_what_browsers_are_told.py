"""What a browser is told to keep to: HTTPS in SAAS, nothing that plain HTTP could not keep in STANDALONE."""

from __future__ import annotations

import re

import requests
from playwright.sync_api import expect

from tests.client import browserlike
from tests.journeys.page import visiting
from tests.stack import is_saas

SECONDS = 60


def test_cookies_and_addresses_are_as_safe_as_the_mode_s_way_in(gateway):
    person = gateway.newcomer(one_time=False)
    browser = browserlike(gateway.url)
    page = browser.get(f"{gateway.url}/sign-in/", timeout=SECONDS)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    data = {"username": person.name, "password": person.password, "csrfmiddlewaretoken": token}
    assert browser.post(f"{gateway.url}/sign-in/", data=data, timeout=SECONDS).status_code == 200

    host = gateway.url.split("://")[1]
    kept = {cookie.name: cookie.secure for cookie in browser.cookies}
    policy = page.headers["Content-Security-Policy"]
    if is_saas():
        assert gateway.url.startswith("https://")
        assert kept == {"csrftoken": True, "sessionid": True}
        assert page.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert f"wss://{host}" in policy
    else:
        assert gateway.url.startswith("http://")
        assert kept == {"csrftoken": False, "sessionid": False}
        assert "Strict-Transport-Security" not in page.headers
        assert f" ws://{host}" in policy


def test_only_a_declared_proxy_says_that_a_request_was_safe(gateway):
    claimed = {"X-Forwarded-Proto": "http" if is_saas() else "https"}
    page = requests.get(f"{gateway.url}/sign-in/", headers=claimed, timeout=SECONDS)
    assert ("Strict-Transport-Security" in page.headers) is is_saas()


def test_scripts_cannot_read_who_is_signed_in(browser, gateway):
    with visiting(browser, gateway) as somebody:
        somebody.sign_in(gateway.newcomer(one_time=False))
        expect(somebody.page.get_by_text("No chats yet")).to_be_visible()
        (session,) = [each for each in somebody.page.context.cookies() if each["name"] == "sessionid"]
        assert (session["httpOnly"], session["sameSite"]) == (True, "Lax")
        assert session["secure"] is is_saas()
        assert session["value"] not in somebody.page.evaluate("document.cookie")
