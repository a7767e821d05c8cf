"""An operator works in the admin."""

from __future__ import annotations

import re

import pytest
import requests
from playwright.sync_api import Browser, expect

from tests.journeys.gateway import Gateway
from tests.journeys.page import Visitor, visiting

MODELS = {
    "tenancy/tenant": "My organisation",
    "tenancy/user": "ada",
    "tenancy/membership": "ada",
    "tenancy/apikey": "journey",
    "agent_sessions/modelprofile": "Scripted",
    "agent_sessions/agent": "Assistant",
    "agent_sessions/session": "say: for the admin",
    "agent_sessions/message": "for the admin",
    "chat/turn": "completed",
}


@pytest.fixture
def operator(browser: Browser, gateway: Gateway):
    """The operator, signed in at the admin."""
    gateway.model.reset()
    with visiting(browser, gateway, viewport={"width": 1280, "height": 900}) as somebody:
        somebody.page.goto(f"{gateway.url}/admin/")
        expect(somebody.page).to_have_url(re.compile(r"/sign-in/\?next=/admin/$"))
        somebody.page.get_by_label("Username").fill(gateway.operator.name)
        somebody.page.get_by_label("Password").fill(gateway.operator.password)
        somebody.page.get_by_role("button", name="Sign in").click()
        expect(somebody.page.get_by_text("Turns in the last 24 hours")).to_be_visible()
        yield somebody


def form(operator: Visitor, path: str, **values: str) -> None:
    """Open a form that adds something, and fill it in."""
    operator.page.goto(f"{operator.url}/admin/{path}/add/")
    for name, value in values.items():
        operator.page.locator(f"[name={name}]").fill(value)


def choose(operator: Visitor, name: str) -> None:
    """Choose a row in the form's one field that searches."""
    operator.page.locator(".select2-selection").click()
    operator.page.locator(".select2-search__field").fill(name)
    operator.page.locator(".select2-results__option", has_text=name).click()


def test_every_model_is_listed_searched_and_opened(operator, gateway):
    operator.page.goto(f"{gateway.url}/")
    operator.ask("say: for the admin")
    for path, known in MODELS.items():
        # Other stories' rows fill the first page of these lists: this one is looked for.
        asked = f"?q={known}" if path.startswith("tenancy/") else ""
        operator.page.goto(f"{gateway.url}/admin/{path}/{asked}")
        expect(operator.page.locator("#result_list")).to_contain_text(known, ignore_case=True)
        operator.page.locator("#result_list tbody tr a").first.click()
        expect(operator.page).to_have_url(re.compile(r"/change/(\?|$)"))
        for search in ("no such thing", gateway.operator.name):
            answer = operator.page.goto(f"{gateway.url}/admin/{path}/?q={search}")
            assert answer.status == 200


def test_an_agent_is_given_tools_and_the_page_of_tools_knows(operator, gateway):
    page = operator.page
    page.goto(f"{gateway.url}/admin/agent_sessions/agent/?q=Assistant")
    page.locator("#result_list tbody tr a").first.click()
    expect(page.get_by_text("There are: calculator")).to_be_visible()
    page.locator("[name=tools]").fill("calculator\ncurrent_*\nthe_future")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("No tool is named the_future now")).to_be_visible()
    page.goto(f"{gateway.url}/admin/")
    page.get_by_role("link", name="Tools and policy").last.click()
    expect(page.locator("#tools tbody tr", has_text="current_time")).to_contain_text("Assistant")
    expect(page.locator("#tools tbody tr", has_text="python")).to_contain_text("none")
    expect(page.get_by_text("It answers.")).to_be_visible()
    page.locator("#tools tbody tr", has_text="calculator").get_by_role("link", name="ended").click()
    expect(page).to_have_url(re.compile(r"/toolcallrecord/\?tool=calculator$"))
    page.goto(f"{gateway.url}/admin/agent_sessions/agent/?q=Assistant")
    page.locator("#result_list tbody tr a").first.click()
    page.locator("[name=tools]").fill("")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()


def test_what_the_platform_wrote_is_only_read(operator, gateway):
    for path in ("agent_sessions/session", "agent_sessions/message", "chat/turn"):
        assert operator.page.goto(f"{gateway.url}/admin/{path}/add/").status == 403
    operator.complaints.clear()


def test_a_session_is_deleted_with_all_that_was_said_in_it(operator, gateway):
    page = operator.page
    page.goto(f"{gateway.url}/")
    operator.ask("say: forget this")
    page.goto(f"{gateway.url}/admin/agent_sessions/session/?q=forget")
    page.get_by_role("link", name="say: forget this").first.click()
    page.get_by_role("link", name="Delete session").click()
    page.get_by_role("button", name="Yes, I’m sure").click()
    expect(page.get_by_text("was deleted successfully")).to_be_visible()
    page.goto(f"{gateway.url}/admin/agent_sessions/message/?q=forget")
    expect(page.locator("#result_list tbody tr")).to_have_count(0)


def test_ones_own_model_is_made_tested_and_talked_to(operator, gateway):
    page = operator.page
    form(operator, "agent_sessions/modelprofile", name="Mine", base_url="http://model.invalid/v1", model="m")
    page.get_by_role("button", name="Save and test this model").click()
    expect(page.get_by_text("Mine did not answer.")).to_be_visible(timeout=30_000)
    page.locator("[name=base_url]").fill(gateway.model.base_url)
    gateway.model.script("say: Hi!")
    page.get_by_role("button", name="Save and test this model").click()
    expect(page.get_by_text("Mine: It answered “Hi!”")).to_be_visible(timeout=30_000)
    form(operator, "agent_sessions/agent", name="Pirate", instructions="Talk like a pirate.")
    choose(operator, "Mine")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    page.goto(f"{gateway.url}/")
    page.get_by_label("Agent").select_option("Pirate")
    operator.ask("say: Ahoy!")
    expect(page.locator("#agent")).to_have_text("Pirate")
    told = gateway.model.requests()[-1]["body"]
    assert told["model"] == "m"
    assert told["messages"][0] == {"role": "system", "content": "Talk like a pirate."}


def test_a_model_of_another_protocol_stands_in_for_one_that_is_away(operator, gateway):
    page = operator.page
    form(operator, "agent_sessions/modelprofile", name="Spare", base_url=gateway.model.url, model="spare")
    page.locator("[name=protocol]").select_option("Anthropic")
    gateway.model.script("say: Hi!")
    page.get_by_role("button", name="Save and test this model").click()
    expect(page.get_by_text("Spare: It answered “Hi!”")).to_be_visible(timeout=30_000)
    facts = {"base_url": "http://model.invalid/v1", "model": "away", "max_retries": "0", "input_price": "-1"}
    form(operator, "agent_sessions/modelprofile", name="Away", **facts)
    choose(operator, "Spare")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("greater than or equal to 0")).to_be_visible()
    page.locator("[name=input_price]").fill("0.15")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    form(operator, "agent_sessions/agent", name="Steadfast", instructions="Stay.")
    choose(operator, "Away")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    page.goto(f"{gateway.url}/")
    page.get_by_label("Agent").select_option("Steadfast")
    operator.ask("say: Still here!")
    told = gateway.model.requests()[-1]["body"]
    assert (told["model"], told["system"]) == ("spare", "Stay.")


def test_a_name_that_is_taken_is_an_error_of_the_form(operator):
    form(operator, "agent_sessions/modelprofile", name="Twin", base_url="http://x.invalid/v1", model="m")
    operator.page.locator("[name=slug]").fill("scripted")
    operator.page.get_by_role("button", name="Save", exact=True).click()
    expect(operator.page.get_by_text(re.compile("already exists|is violated"))).to_be_visible()


def test_an_api_key_is_shown_once_and_works(operator, gateway):
    page = operator.page
    form(operator, "tenancy/apikey", name="for a program")
    page.locator(".select2-selection").click()
    page.locator(".select2-search__field").fill(gateway.operator.name)
    page.locator(".select2-results__option", has_text=gateway.operator.name).click()
    page.get_by_role("button", name="Save", exact=True).click()
    said = page.get_by_text("it is not shown again").inner_text()
    key = re.search(r"sa_[\w-]+", said).group()
    answer = requests.get(
        f"{gateway.url}/api/v1/agents", headers={"Authorization": f"Bearer {key}"}, timeout=60
    )
    assert answer.status_code == 200
    page.reload()
    assert key not in page.content()
    page.get_by_role("link", name="for a program").first.click()
    expect(page.get_by_text(key[:11], exact=True)).to_be_visible()
    assert key not in page.content()


def test_a_user_made_here_chooses_a_password_first(operator, gateway, browser):
    page = operator.page
    form(
        operator,
        "tenancy/user",
        username="newly-made",
        password1="a-good-long-one",
        password2="a-good-long-one",
    )
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    with visiting(browser, gateway) as somebody:
        somebody.page.goto(f"{gateway.url}/sign-in/")
        somebody.page.get_by_label("Username").fill("newly-made")
        somebody.page.get_by_label("Password").fill("a-good-long-one")
        somebody.page.get_by_role("button", name="Sign in").click()
        expect(somebody.page.get_by_role("heading", name="Choose your password")).to_be_visible()


def test_who_is_no_operator_does_not_get_in(browser, gateway):
    with visiting(browser, gateway) as somebody:
        somebody.sign_in(gateway.newcomer(one_time=False))
        answer = somebody.page.goto(f"{gateway.url}/admin/")
        assert answer.status == 403
        somebody.complaints.clear()


def test_an_operator_with_a_one_time_password_changes_it_first(browser, gateway):
    with visiting(browser, gateway) as somebody:
        somebody.sign_in(gateway.newcomer(staff=True))
        somebody.page.goto(f"{gateway.url}/admin/")
        expect(somebody.page.get_by_role("heading", name="Choose your password")).to_be_visible()
