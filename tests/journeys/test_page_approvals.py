"""What an agent may not do unasked is asked on the page, and the answer is given there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests
from playwright.sync_api import Browser, Locator, Route, expect

from tests.journeys.gateway import Gateway
from tests.journeys.house import SUM, TIME, House, calls, house
from tests.journeys.page import Visitor, visiting

ANSWERS = "**/turns/*/calls/"
ASKED = "The answer waits for your approval."


@pytest.fixture
def home(gateway: Gateway) -> House:
    gateway.model.reset()
    return house(gateway)


@pytest.fixture
def visitor(browser: Browser, gateway: Gateway, home: House):
    """A member who is signed in, at an agent with tools."""
    with visiting(browser, gateway, viewport={"width": 1280, "height": 800}) as somebody:
        somebody.sign_in(home.member)
        yield somebody


def question(somebody: Visitor) -> Locator:
    return somebody.page.locator(".question")


def asked(somebody: Visitor, *wanted: tuple[str, object]) -> Locator:
    somebody.say(calls(*(wanted or (TIME,))))
    expect(question(somebody).first).to_be_visible()
    return question(somebody)


def call(somebody: Visitor, tool: str) -> Locator:
    return somebody.answers.last.locator(".call", has=somebody.page.locator("summary code", has_text=tool))


def just_before(somebody: Visitor, happens: Callable[[], object]) -> None:
    """It happens while the answer that somebody gives on the page is on its way."""

    def meanwhile(route: Route) -> None:
        if route.request.method == "POST":
            happens()
        route.continue_()

    somebody.page.route(ANSWERS, meanwhile)


def test_a_call_is_approved_and_its_result_is_there_to_be_unfolded(visitor):
    page = visitor.page
    card = asked(visitor, SUM, TIME)
    expect(card).to_contain_text("Run current_time?")
    expect(card).to_contain_text("In this house the time is told to nobody unasked.")
    expect(card).to_contain_text("Low risk")
    expect(card.get_by_label("Its arguments")).to_have_text('{\n  "time_zone": "Europe/Paris"\n}')
    expect(card.locator("time")).to_have_text("in 7 hours")
    expect(visitor.heard()).to_have_text("current_time waits for your approval.")
    expect(call(visitor, "calculator")).to_contain_text("Done")
    expect(page.get_by_text(ASKED)).to_be_visible()
    expect(visitor.chats).to_contain_text("Waits for your approval: calls")
    page.get_by_role("button", name="Show what it asks").click()
    expect(card).to_be_focused()
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(visitor.answered().locator(".prose")).to_contain_text("42 | ")
    expect(visitor.answers.last.locator(".prose")).to_contain_text("Europe/Paris")
    expect(card).to_have_count(0)
    expect(page.get_by_text(ASKED)).to_be_hidden()
    expect(page.get_by_label("Your message")).to_be_focused()
    expect(visitor.chats).not_to_contain_text("Waits for your approval")
    for _ in range(2):
        run = call(visitor, "current_time")
        expect(run.locator("pre").last).to_be_hidden()
        run.locator("summary").click()
        expect(run).to_contain_text("Approved by you")
        expect(run.locator("pre").last).to_contain_text("Europe/Paris)")
        page.reload()


def test_a_call_is_denied_with_a_reason_that_the_model_is_told(visitor):
    card = asked(visitor)
    card.locator("summary", has_text="Deny").click()
    reason = card.get_by_label("Why not?")
    expect(reason).to_be_focused()
    reason.fill("it is late")
    reason.press("Enter")
    expect(visitor.answered().locator(".prose")).to_contain_text("The user denied it, saying “it is late")
    run = call(visitor, "current_time")
    expect(run).to_contain_text("Denied")
    run.locator("summary").click()
    expect(run).to_contain_text("Denied by you: it is late")


def test_arguments_are_edited_and_what_is_wrong_with_them_stands_beside_them(visitor):
    card = asked(visitor)
    card.locator("summary", has_text="Edit arguments").click()
    area = card.get_by_label("Arguments to run it with, as JSON")
    expect(area).to_be_focused()
    approve = card.get_by_role("button", name="Approve with these")
    for wrong, reason in (("{", "This is no JSON"), ('{"time_zone": 3}', "time_zone: 3 is not of type")):
        area.fill(wrong)
        approve.click()
        expect(card.get_by_role("alert")).to_contain_text(reason)
        expect(area).to_be_focused()
        expect(area).to_have_value(wrong)
    visitor.complaints.clear()
    area.fill('{"time_zone": "Asia/Tokyo"}')
    approve.click()
    expect(visitor.answered().locator(".prose")).to_contain_text("Asia/Tokyo)")
    run = call(visitor, "current_time")
    run.locator("summary").click()
    expect(run).to_contain_text("Approved with other arguments by you")
    expect(run).to_contain_text("What the model had asked for")
    expect(run.locator("pre").nth(1)).to_contain_text("Europe/Paris")


def test_a_question_is_still_there_after_a_reload_and_a_lost_stream(visitor):
    card = asked(visitor)
    visitor.page.reload()
    expect(card).to_be_visible()
    expect(visitor.page.get_by_text(ASKED)).to_be_visible()
    visitor.page.context.set_offline(True)
    card.get_by_role("button", name="Approve").click()
    expect(card.get_by_role("alert")).to_contain_text("The server cannot be reached")
    visitor.page.context.set_offline(False)
    visitor.complaints.clear()
    card.get_by_role("button", name="Approve").click()
    expect(visitor.answered().locator(".prose")).to_contain_text("Europe/Paris)")
    visitor.complaints.clear()


def test_on_a_phone_a_question_fits_and_is_answered(browser, gateway, home):
    phone = {"viewport": {"width": 360, "height": 640}, "is_mobile": True, "has_touch": True}
    with visiting(browser, gateway, **phone) as somebody:
        somebody.sign_in(home.member)
        card = asked(somebody, ("current_time", {"time_zone": "x" * 60}), TIME)
        card.first.locator("summary", has_text="Deny").tap()
        card.last.locator("summary", has_text="Edit arguments").tap()
        wide = "document.documentElement.scrollWidth > innerWidth"
        assert not somebody.page.evaluate(wide)
        card.first.get_by_role("button", name="Deny the call").tap()
        expect(card).to_have_count(1)
        card.get_by_role("button", name="Approve with these").tap()
        expect(somebody.answered().locator(".prose")).to_contain_text("The user denied it.")
        assert not somebody.page.evaluate(wide)


def test_two_tabs_see_one_answer_each(visitor):
    asked(visitor, TIME, ("current_time", {"time_zone": "Asia/Tokyo"}))
    second = visitor.another_tab()
    expect(question(second)).to_have_count(2)
    question(second).nth(1).locator("summary", has_text="Deny").click()
    half = question(second).last.get_by_label("Why not?")
    half.fill("half a thou")
    question(visitor).first.get_by_role("button", name="Approve").click()
    expect(question(visitor)).to_have_count(1)
    expect(question(visitor)).to_be_focused()
    for tab in (visitor, second):
        expect(question(tab)).to_have_count(1)
        expect(call(tab, "current_time")).to_contain_text("Approved, waits for the others")
    expect(half).to_have_value("half a thou")
    question(second).get_by_role("button", name="Deny the call").click()
    for tab in (visitor, second):
        expect(tab.answered().locator(".prose")).to_contain_text("The user denied it, saying “half a thou")
    assert second.complaints == []


def test_who_comes_too_late_is_told_and_sees_the_answer(visitor, gateway, home):
    card = asked(visitor, TIME, SUM, ("current_time", {}))
    turn = visitor.answers.last.get_attribute("data-turn")
    address = f"{gateway.url}/api/v1/turns/{turn}/approvals"
    bearer = {"Authorization": f"Bearer {home.owner.api_key}"}
    first = requests.get(address, headers=bearer, timeout=60).json()["items"][0]
    answer = {"calls": [{"call_id": first["call_id"], "decision": "deny", "reason": "no"}]}
    just_before(visitor, lambda: requests.post(address, json=answer, headers=bearer, timeout=60))
    card.first.get_by_role("button", name="Approve").click()
    expect(visitor.page.locator("#problem")).to_contain_text("is denied")
    expect(card).to_have_count(1)
    run = call(visitor, "current_time")
    expect(run).to_contain_text("Denied, waits for the others")
    run.locator("summary").click()
    expect(run).to_contain_text("Denied by an owner of your organisation: no")
    assert len(visitor.complaints) == 1
    visitor.complaints.clear()


def test_a_question_that_is_over_or_not_theirs_to_answer_says_so(visitor, gateway, home):
    page = visitor.page
    card = asked(visitor)
    just_before(visitor, lambda: gateway.in_database(lambda: let_expire(home)))
    card.get_by_role("button", name="Approve").click()
    expect(page.locator("#problem")).to_contain_text("is expired")
    expect(card).to_have_count(0)
    expect(call(visitor, "current_time")).to_contain_text("Not approved in time")
    page.get_by_role("button", name="Stop the answer").click()
    visitor.answered()

    asked(visitor)
    page.unroute(ANSWERS)
    gateway.in_database(lambda: set_role(home, "viewer"))
    card.get_by_role("button", name="Approve").click()
    expect(card.get_by_role("alert")).to_contain_text("write")
    page.reload()
    expect(card).to_contain_text("Somebody who may write has to answer.")
    expect(card.get_by_role("button")).to_have_count(0)
    visitor.complaints.clear()


def set_role(home: House, role: str) -> None:
    from somaagent.tenancy.models import Membership  # noqa: PLC0415 - Django is not configured before
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    with tenant_scope(home.tenant_id):
        assert Membership.objects.filter(user__username=home.member.name).update(role=role) == 1


def let_expire(home: House) -> None:
    """What the scheduler's sweep does when the time is over."""
    from apps.chat.models import Call  # noqa: PLC0415 - Django is not configured before
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    with tenant_scope(home.tenant_id):
        assert Call.objects.filter(state="awaiting").update(answer="expired") == 1


def test_an_answer_that_waits_can_be_stopped_queued_behind_or_replaced(visitor):
    page = visitor.page
    card = asked(visitor)
    visitor.say("say: later")
    expect(page.locator(".waiting-note:visible")).to_have_count(1)
    page.get_by_role("button", name="Stop the answer").click()
    expect(visitor.answers.last).to_contain_text("later")
    visitor.answered()
    expect(visitor.answers.first).to_contain_text("Stopped before the first word.")
    expect(visitor.answers.first.locator(".call")).to_contain_text("Never ran")
    expect(card).to_have_count(0)
    asked(visitor)
    page.get_by_label("Your message").fill("say: at once")
    page.get_by_role("button", name="Send now").click()
    expect(visitor.answers.last).to_contain_text("at once")
    expect(card).to_have_count(0)
