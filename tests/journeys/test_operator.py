"""An operator finds a turn that is stuck, ends it, and looks at how the platform is and was set up."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, expect

from tests.journeys.gateway import Gateway
from tests.journeys.page import visiting


@pytest.fixture
def operator(browser: Browser, gateway: Gateway):
    with visiting(browser, gateway, viewport={"width": 1280, "height": 900}) as somebody:
        somebody.sign_in(gateway.operator)
        yield somebody


def stuck_turn(gateway: Gateway) -> str:
    """A turn of the operator's, whose host is gone."""

    def made() -> str:
        from django.utils import timezone  # noqa: PLC0415 - Django is not configured before

        from apps.chat.models import Turn  # noqa: PLC0415 - as above
        from somaagent.tenancy.models import User  # noqa: PLC0415 - as above
        from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above
        from somaagent.tenancy.selectors import actor_by_user  # noqa: PLC0415 - as above
        from tests.factories import submitted, taken  # noqa: PLC0415 - as above

        actor = actor_by_user(User.objects.get(username=gateway.operator.name).id)
        assert actor is not None
        with tenant_scope(actor.tenant_id):
            turn = submitted(actor, "say: this host is gone").turn
            taken(turn, "gateway-gone")
            Turn.objects.filter(id=turn.id).update(lease_expires_at=timezone.now() - timedelta(minutes=3))
        return str(turn.id)

    found: str = gateway.in_database(made)
    return found


def test_a_stuck_turn_is_found_and_cancelled_after_a_second_thought(operator, gateway):
    page, turn = operator.page, stuck_turn(gateway)
    page.goto(f"{gateway.url}/admin/chat/turn/?stuck=yes")
    row = page.locator("#result_list tbody tr", has_text=turn)
    expect(row).to_contain_text("running, stuck")
    row.get_by_role("link", name=turn).click()
    expect(page.get_by_text("Its host gateway-gone is silent")).to_be_visible()
    page.get_by_role("link", name=re.compile("Cancel$")).click()
    expect(page.get_by_text("Cancel these turns?").last).to_be_visible()
    expect(page.locator("#chosen")).to_contain_text(turn)

    page.get_by_role("link", name="No, take me back").click()
    page.goto(f"{gateway.url}/admin/chat/turn/?stuck=yes")
    row = page.locator("#result_list tbody tr", has_text=turn)
    row.get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option(label="Cancel the chosen turns")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Cancel them").click()
    expect(page.get_by_text("Asked to stop: 1.")).to_be_visible()
    page.goto(f"{gateway.url}/admin/chat/turn/{turn}/change/")
    expect(page.get_by_role("heading", name=re.compile(rf"{turn} \(cancelled\)"))).to_be_visible()
    page.goto(f"{gateway.url}/admin/chat/turn/?stuck=yes&q={turn}")
    expect(page.locator("#result_list tbody tr", has_text=turn)).to_have_count(0)
    page.goto(f"{gateway.url}/admin/tenancy/auditentry/?q={turn}")
    expect(page.locator("#result_list")).to_contain_text("turn.cancelled")


def test_services_and_settings_are_a_click_away(operator, gateway):
    page = operator.page
    page.goto(f"{gateway.url}/admin/")
    page.get_by_role("link", name="Services", exact=True).last.click()
    # No orchestrator watches the services of this gateway.
    expect(page.locator("#services tbody tr", has_text="orchestrator")).to_contain_text("down")
    page.goto(f"{gateway.url}/admin/")
    page.get_by_role("link", name="Settings", exact=True).last.click()
    expect(page.locator("table.settings tr", has_text="SA01_SECRET_KEY")).to_contain_text("a secret, set")
    page.get_by_placeholder("Search", exact=True).fill("public url")
    page.get_by_role("button", name="Search", exact=True).click()
    row = page.locator("table.settings tbody tr", has_text="SA01_PUBLIC_URL")
    expect(row).to_contain_text(gateway.url)
    expect(row).to_contain_text("process environment")
    expect(page.get_by_text("SA01_SECRET_KEY")).to_have_count(0)
