"""People who sign in with a second factor: set up, asked for, lost, required."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.journeys.audited import told_of
from tests.journeys.gateway import Gateway, Person, another_gateway
from tests.journeys.page import Visitor, visiting

PERIOD = 30


def code_of(secret: str) -> str:
    """What an authenticator app shows (RFC 6238 over RFC 4226), early enough in its period to be typed."""
    left = PERIOD - time.time() % PERIOD
    if left < 8:
        time.sleep(left + 0.1)
    digest = hmac.new(
        base64.b32decode(secret), struct.pack(">Q", int(time.time()) // PERIOD), hashlib.sha1
    ).digest()
    start = digest[-1] & 0x0F
    return f"{(struct.unpack('>I', digest[start : start + 4])[0] & 0x7FFFFFFF) % 1_000_000:06}"


def next_code_of(secret: str, before: str) -> str:
    while (code := code_of(secret)) == before:
        time.sleep(0.5)
    return code


def give(page: Page, code: str) -> None:
    page.get_by_label("Code").fill(code)
    page.get_by_role("button", name="Go on").click()


def set_up(somebody: Visitor, person: Person) -> tuple[str, str, list[str]]:
    """Turn it on. Gives the secret, the code that was typed, and the recovery codes."""
    page = somebody.page
    page.get_by_role("link", name="Set it up").click()
    page.get_by_label("Password").fill(person.password)
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("Authenticator code").fill("000000")
    page.get_by_role("button", name="Turn it on").click()
    expect(page.get_by_text("This code is not right")).to_be_visible()
    secret = page.locator("#totp-secret").inner_text()
    code = code_of(secret)
    page.get_by_label("Authenticator code").fill(code)
    page.get_by_role("button", name="Turn it on").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    return secret, code, page.locator(".recovery-codes code").all_inner_texts()


@pytest.fixture
def person(gateway) -> Person:
    return gateway.newcomer(one_time=False)


def test_a_second_factor_is_set_up_asked_for_and_used_once(browser, gateway, person):
    with visiting(browser, gateway) as somebody:
        somebody.sign_in(person)
        somebody.page.get_by_role("button", name=person.name).click()
        somebody.page.get_by_role("link", name="Second factor").click()
        secret, typed, recovery = set_up(somebody, person)
    assert (len(recovery), len(set(recovery))) == (10, 10)
    assert_sealed(gateway, person, secret)

    with visiting(browser, gateway) as somebody:
        page = somebody.page
        somebody.sign_in(person)
        expect(page.get_by_role("heading", name="Your second factor")).to_be_visible()
        page.goto(f"{gateway.url}/")
        expect(page.get_by_role("heading", name="Your second factor")).to_be_visible()
        give(page, "000000")
        expect(page.get_by_text("This code is not right")).to_be_visible()
        code = next_code_of(secret, typed)
        give(page, code)
        expect(page.get_by_text("No chats yet")).to_be_visible()
    with visiting(browser, gateway) as somebody:
        somebody.sign_in(person)
        give(somebody.page, code)
        expect(somebody.page.get_by_text("This code is not right, or was used already")).to_be_visible()
        give(somebody.page, recovery[3])
        expect(somebody.page.get_by_text("No chats yet")).to_be_visible()
    with visiting(browser, gateway) as somebody:
        somebody.sign_in(person)
        give(somebody.page, recovery[3])
        expect(somebody.page.get_by_text("This code is not right, or was used already")).to_be_visible()
    told = told_of(gateway, person.name)
    # The app and the recovery codes; then a made-up code, a used one, and a used recovery code.
    assert told.count("user.second_factor_added") == 2
    assert told.count("user.sign_in_failed") == 3
    assert told.count("user.signed_in") == 3


def assert_sealed(gateway: Gateway, person: Person, secret: str) -> None:
    from allauth.mfa.models import Authenticator  # noqa: PLC0415 - Django is not configured before

    rows = gateway.in_database(
        lambda: list(Authenticator.objects.filter(user__username=person.name).values_list("data", flat=True))
    )
    assert len(rows) == 2
    assert secret not in str(rows)


def test_who_guesses_codes_is_stopped(browser, gateway, person):
    with visiting(browser, gateway) as somebody:
        somebody.sign_in(person)
        somebody.page.goto(f"{gateway.url}/account/second-factor/")
        _, _, recovery = set_up(somebody, person)
    with visiting(browser, gateway) as somebody:
        somebody.sign_in(person)
        for _ in range(5):
            give(somebody.page, "000000")
            expect(somebody.page.get_by_text("This code is not right")).to_be_visible()
        give(somebody.page, recovery[0])  # a right one
        expect(somebody.page.get_by_text("Too many failed attempts")).to_be_visible()


def test_it_is_taken_away_by_who_knows_it(browser, gateway, person):
    with visiting(browser, gateway) as somebody:
        page = somebody.page
        somebody.sign_in(person)
        page.goto(f"{gateway.url}/account/second-factor/")
        set_up(somebody, person)
        page.goto(f"{gateway.url}/account/second-factor/")
        page.goto(f"{gateway.url}/account/second-factor/codes/new/")
        page.get_by_role("button", name="Make new ones").click()
        expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
        page.goto(f"{gateway.url}/account/second-factor/")
        page.get_by_role("link", name="Take the second factor away").click()
        page.get_by_role("button", name="Take it away").click()
        expect(page.get_by_role("link", name="Set it up")).to_be_visible()
    with visiting(browser, gateway) as somebody:
        somebody.sign_in(person)
        expect(somebody.page.get_by_text("No chats yet")).to_be_visible()
    told = told_of(gateway, person.name)
    assert told.count("user.second_factor_renewed") == 1
    assert told.count("user.second_factor_removed") == 2


@pytest.fixture(scope="module")
def strict(gateway, stack, tmp_path_factory) -> Iterator[str]:
    """A gateway where operators have to have one."""
    folder = tmp_path_factory.mktemp("strict")
    with another_gateway(gateway, stack, folder, settings={"SA01_MFA_REQUIRED": "operators"}) as url:
        yield url


def test_who_has_to_have_one_sets_it_up_before_anything_else(browser, gateway, strict):
    operator, member = gateway.newcomer(staff=True, one_time=False), gateway.newcomer(one_time=False)
    with visiting(browser, gateway) as somebody:
        somebody.url = strict
        somebody.sign_in(operator)
        page = somebody.page
        for path in ("/", "/admin/"):
            page.goto(f"{strict}{path}")
            expect(page.get_by_role("alert")).to_contain_text("has to have a second factor")
        assert page.request.get(f"{strict}/api/v1/sessions").status == 401
        set_up(somebody, operator)
        page.goto(f"{strict}/admin/")
        expect(page.get_by_text("Turns in the last 24 hours")).to_be_visible()
        page.goto(f"{strict}/account/second-factor/off/")
        expect(page.get_by_text("cannot be taken away")).to_be_visible()
    with visiting(browser, gateway) as somebody:
        somebody.url = strict
        somebody.sign_in(member)
        expect(somebody.page.get_by_text("No chats yet")).to_be_visible()
