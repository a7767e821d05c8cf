"""A gateway dies while it runs what was approved on the page: another host goes on, and the page with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.chaos.ledger import Ledger, keeping
from tests.chaos.town import FOR_FAULTS, Town
from tests.journeys.front import Front, front
from tests.journeys.gateway import Gateway
from tests.journeys.house import House, calls, house, lists_known
from tests.journeys.page import Visitor, visiting
from tests.stack import RunningStack

# A lease runs out, a sweep finds that, a worker begins.
PATIENCE_SECONDS = 60.0
RENT = ("ledger__enter", {"entry": "rent"})
WATER = ("ledger__enter_once", {"entry": "water"})


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with keeping() as kept:
        yield kept


@pytest.fixture
def home(gateway: Gateway, ledger: Ledger) -> House:
    gateway.model.reset()
    home = house(gateway)
    gateway.in_database(lambda: keep_ledger(home, ledger.url))
    return home


def keep_ledger(home: House, url: str) -> None:
    """The house's agent writes to the ledger, whose hints its operator believes."""
    from apps.sessions.models import Agent  # noqa: PLC0415 - Django is not configured before
    from apps.tools.mcp.models import McpServer  # noqa: PLC0415 - as above
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    with tenant_scope(home.tenant_id):
        McpServer.objects.create(
            tenant_id=home.tenant_id, slug="ledger", name="Ledger", url=url, trusts_annotations=True
        )
        Agent.objects.update(tools=["ledger__*"])


@pytest.fixture
def entrance(stack: RunningStack) -> Iterator[Front]:
    with front(stack.public_certificate) as standing:
        yield standing


@pytest.fixture
def place(stack, gateway: Gateway, entrance: Front) -> Iterator[Town]:
    """Two gateways behind one address, a worker and a scheduler, none of which waits long for the dead."""
    town = Town(stack, {}, gateway.model.url, "", FOR_FAULTS | {"SA01_PUBLIC_URL": entrance.url})
    try:
        for name in ("gateway-1", "gateway-2", "worker", "scheduler"):
            town.start(name)
        for name in ("gateway-1", "gateway-2"):
            town.wait_for_gateway(name)
            entrance.ports.append(town.ports[name])
        yield town
    finally:
        town.stop()


@pytest.fixture
def member(browser: Browser, gateway: Gateway, entrance: Front, place: Town, home: House):
    with visiting(
        browser, replace(gateway, url=entrance.url), viewport={"width": 1280, "height": 800}
    ) as one:
        one.sign_in(home.member)
        yield one


def know_tools(gateway: Gateway, member: Visitor, home: House) -> None:
    """On a machine that is busy a first turn goes without the tools of a server that nobody has asked yet."""
    member.say("say: Good morning.")
    expect(member.answers.last).to_contain_text("Good morning.")
    until(lambda: gateway.in_database(lambda: lists_known(home)) == 1)


def until(happened: Callable[[], bool]) -> None:
    last = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < last, "it does not happen"
        time.sleep(0.05)


def test_what_was_approved_outlives_the_gateway_that_ran_it(gateway, home, member, place, ledger):
    know_tools(gateway, member, home)
    member.say(calls(RENT, WATER))
    question = member.page.locator(".question")
    expect(question).to_have_count(2)
    ledger.answers.clear()
    for left in (1, 0):
        question.first.get_by_role("button", name="Approve").click()
        expect(question).to_have_count(left)
    until(lambda: ledger.asked == {"rent": 1, "water": 1})
    expect(member.answers.last.locator(".call")).to_contain_text(["Running", "Running"])
    place.kill("gateway-1")
    ledger.answers.set()

    expect(question).to_contain_text("it may have taken effect", timeout=PATIENCE_SECONDS * 1000)
    expect(question).to_contain_text("Run ledger__enter?")
    expect(call(member, "ledger__enter_once")).to_contain_text("Done", timeout=PATIENCE_SECONDS * 1000)
    assert ledger.asked == {"rent": 1, "water": 2}, "only what does no harm was run again"
    assert ledger.entries == {"rent": 1, "water": 1}

    member.page.reload()
    expect(question).to_contain_text("it may have taken effect")
    question.locator("summary", has_text="Deny").click()
    question.get_by_label("Why not?").fill("the rent is in the ledger")
    question.get_by_role("button", name="Deny the call").click()
    answer = member.answered().locator(".prose")
    expect(answer).to_contain_text("It was cut short and may have taken effect.")
    expect(answer).to_contain_text("did not want it to be run again, saying “the rent is in the ledger”.")
    expect(answer).to_contain_text("entered water")
    expect(call(member, "ledger__enter")).to_contain_text("Cut short")
    assert ledger.asked == {"rent": 1, "water": 2}
    assert ledger.entries == {"rent": 1, "water": 1}
    assert all("net::" in complaint for complaint in member.complaints), "of the connection alone"
    member.complaints.clear()


def call(member: Visitor, tool: str) -> Locator:
    name = member.page.get_by_text(tool, exact=True)
    return member.answers.last.locator(".call", has=name)
