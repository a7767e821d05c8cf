"""An operator looks at what is used: the first page of the admin, its links, the page of usage, its CSV."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.journeys.gateway import FIRST, Gateway
from tests.journeys.page import Visitor, visiting

TOLD = re.compile(r"^(Tokens|Cost), .+ in all, most .+\.$")


@pytest.fixture
def operator(browser: Browser, gateway: Gateway):
    gateway.model.reset()
    gateway.in_database(_priced)
    with visiting(browser, gateway, viewport={"width": 1280, "height": 900}) as somebody:
        somebody.sign_in(gateway.operator)
        yield somebody


def _priced() -> None:
    """The scripted model costs something from now on."""
    from apps.sessions.models import ModelProfile  # noqa: PLC0415 - Django is not configured before
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    prices = {"input_price": Decimal(2), "output_price": Decimal(8)}
    with tenant_scope(FIRST):
        ModelProfile.objects.filter(slug="scripted").update(**prices)


def test_after_some_turns_the_operator_sees_figures_follows_links_and_takes_the_csv(
    operator: Visitor, gateway: Gateway, tmp_path: Path
):
    page, today = operator.page, datetime.now(UTC).date().isoformat()
    operator.ask("say: one thing")
    operator.ask("say: another thing")
    page.goto(f"{gateway.url}/admin/")
    turns = page.locator("section", has=page.get_by_role("heading", name="Turns in the last 24 hours"))
    expect(turns.get_by_role("link", name="completed")).to_be_visible()
    # Pictures for those who see them, words and numbers for those who do not.
    for chart in ("Tokens a day", "Cost a day"):
        figure = page.locator("figure", has=page.get_by_role("heading", name=chart))
        picture = figure.get_by_role("img")
        expect(picture).to_have_attribute("aria-label", TOLD)
        assert picture.locator(".soma-bar").last.bounding_box()["height"] > 0
        figure.get_by_text(f"{chart}, as a table").click()
        expect(figure.locator("tbody tr")).to_have_count(30)

    turns.get_by_role("link", name="completed").click()
    expect(page).to_have_url(re.compile(r"/admin/chat/turn/\?state__exact=completed&created_at__gte="))
    expect(page.locator("#result_list")).to_contain_text("completed")
    page.go_back()

    page.get_by_role("link", name=re.compile("^Usage: other days")).click()
    expect(page.locator("#usage tbody tr").first).to_contain_text(today)
    page.get_by_label("And each").select_option("User")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#groups")).to_contain_text(gateway.operator.name)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    file = tmp_path / "usage.csv"
    download.value.save_as(file)
    mine = [row for row in csv.DictReader(file.open()) if row["user"] == gateway.operator.name]
    assert mine[-1]["day"] == today
    assert int(mine[-1]["steps"]) >= 2
    assert Decimal(mine[-1]["cost"]) > 0

    page.locator("[name=from]").fill("2026-11-02")
    page.locator("[name=to]").fill("2026-11-01")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("the last of them not before the first")).to_be_visible()
    expect(page.locator("#usage")).to_have_count(0)
