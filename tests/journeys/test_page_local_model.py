"""The embedded model, a real one, asks for a tool; somebody answers on the page."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.journeys.gateway import Gateway
from tests.journeys.house import House, house
from tests.journeys.page import Visitor, visiting
from tests.local_model import serving

KEY = "sk-local-0123456789"
PATIENCE = 120_000
# It may call the tool a few times before it has to answer.
MOST_QUESTIONS = 6


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("local"), KEY) as url:
        yield url


@pytest.fixture
def home(gateway: Gateway, local: str) -> House:
    home = house(gateway)
    gateway.in_database(lambda: entrust(home, local))
    return home


def entrust(home: House, url: str) -> None:
    """The house's agent to the local model, which knows no tools: its replies are held to a schema."""
    from apps.sessions import keys  # noqa: PLC0415 - Django is not configured before
    from apps.sessions.models import Agent, ModelProfile  # noqa: PLC0415 - as above
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    with tenant_scope(home.tenant_id):
        Agent.objects.update(tools=["current_time"])
        profile = ModelProfile.objects.get()
        profile.base_url, profile.model, profile.tool_calls = url, "local", "constrained"
        profile.max_retries, profile.temperature, profile.max_output_tokens = 3, 0, 80
        profile.encrypted_key = keys.sealed(profile, KEY)
        profile.save()


def asks_again(visitor: Visitor) -> bool:
    """Whether the model wants another call, rather than to answer."""
    until = time.monotonic() + PATIENCE / 1000
    while visitor.page.locator("article.answer[aria-busy=true]").count():
        if visitor.page.locator(".question").count():
            return True
        assert time.monotonic() < until, "the model neither asks nor answers"
        time.sleep(0.1)
    return False


@pytest.mark.timeout(600)
def test_what_a_real_model_asks_is_changed_and_approved(browser: Browser, gateway: Gateway, home: House):
    with visiting(browser, gateway) as visitor:
        visitor.sign_in(home.member)
        visitor.say("Use the tool current_time to tell the time in Paris.")
        card = visitor.page.locator(".question")
        expect(card).to_contain_text("Run current_time?", timeout=PATIENCE)
        for number in range(1, MOST_QUESTIONS + 1):
            card.locator("summary", has_text="Edit arguments").click()
            card.get_by_label("Arguments to run it with, as JSON").fill('{"time_zone": "Asia/Tokyo"}')
            card.get_by_role("button", name="Approve with these").click()
            called = visitor.answers.last.locator(".call", has_text="Done")
            expect(called).to_have_count(number, timeout=PATIENCE)
            if not asks_again(visitor):
                break
        run = visitor.answers.last.locator(".call").first
        run.locator("summary").click()
        expect(run).to_contain_text("Approved with other arguments by you")
        expect(run.locator("pre").last).to_contain_text("Asia/Tokyo)")
        expect(visitor.answered().locator(".prose")).not_to_be_empty()
