"""Somebody is invited in the browser, comes in, and works where they choose; an ended session is over."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.journeys.gateway import Gateway, another_gateway, free_port, public_url
from tests.journeys.house import TIME, House, calls, house
from tests.journeys.page import OWN_PASSWORD, Visitor, visiting
from tests.oidc import provider as oidc

SECRET = "what-the-provider-and-we-know"
PEOPLE = {"ida": {"email": "ida@blue.example", "email_verified": True}}


@pytest.fixture(scope="module")
def home(gateway) -> House:
    return house(gateway)


@pytest.fixture(scope="module")
def portal(gateway, stack, tmp_path_factory) -> Iterator[Gateway]:
    """A gateway where the people of another organisation sign in with their provider."""
    away, port, provider_port = house(gateway), free_port(), free_port()
    back = f"{public_url(stack, port)}/sign-in/with/blue/back/"
    client: dict[str, Any] = {"client_id": "us", "client_secret": SECRET, "redirect_uris": [back]}
    client["token_endpoint_auth_method"] = "client_secret_post"
    declared = {"name": "Blue", "client_id": "us", "tenant": slug(gateway, away), "role": "viewer"}
    declared["issuer"] = oidc.issuer_at(provider_port)
    oidc.keep_secret(stack, "blue", SECRET)
    given = {"SA01_OIDC_PROVIDERS": json.dumps({"blue": declared})}
    folder = tmp_path_factory.mktemp("portal")
    with (
        oidc.running(stack.certificate, port=provider_port, clients=[client], people=PEOPLE),
        another_gateway(gateway, stack, folder, port=port, settings=given) as url,
    ):
        yield dataclasses.replace(gateway, url=url)


def slug(gateway: Gateway, home: House) -> str:
    from somaagent.tenancy.models import Tenant  # noqa: PLC0415 - Django is not configured before

    return gateway.in_database(lambda: Tenant.objects.get(id=home.tenant_id).slug)


def invite(owner: Visitor, name: str, role: str) -> str:
    """The link that the page shows, once."""
    page = owner.page
    page.goto(f"{owner.url}/members/")
    page.get_by_label("Whom it is for").fill(name)
    page.get_by_label("As what").select_option(role)
    page.get_by_role("button", name="Make an invitation").press("Enter")
    link = page.get_by_label("The invitation’s link").input_value()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    page.goto(f"{owner.url}/members/")
    expect(page.get_by_text(name)).to_be_visible()
    expect(page.get_by_label("The invitation’s link")).to_have_count(0)
    return link


def test_a_newcomer_is_invited_and_makes_an_account(browser, gateway, home):
    owner = home.owner
    with visiting(browser, gateway) as inviting, visiting(browser, gateway) as newcomer:
        inviting.sign_in(owner)
        page: Page = newcomer.page
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        link = invite(inviting, "Grace", "viewer")
        page.goto(link)
        expect(page.get_by_text(f"{owner.name} invites you to work in")).to_be_visible()
        # The token is in no address that a server is asked for, and in the browser's own no longer.
        token = link.partition("#")[2]
        assert token.startswith("inv_")
        assert not any(token in url.partition("#")[0] for url in asked)
        assert token not in page.url
        name = f"grace-of-{owner.name}"
        page.get_by_label("Username").fill(name)
        page.get_by_label("E-mail address").fill("grace@acme.example")
        page.get_by_label("Password", exact=True).fill(OWN_PASSWORD)
        page.get_by_label("Password confirmation").fill(OWN_PASSWORD)
        page.get_by_role("button", name="Make the account and accept").press("Enter")
        expect(page.get_by_text("No chats yet")).to_be_visible()
        inviting.page.reload()
        expect(inviting.page.get_by_text("grace@acme.example")).to_be_visible()
        role = inviting.page.get_by_role("combobox", name=f"Role of {name}")
        role.select_option("member")
        inviting.page.get_by_role("button", name=f"Save the role of {name}").press("Enter")
        expect(role).to_have_value("member")


def test_somebody_of_elsewhere_accepts_by_their_provider_and_changes_back(browser, portal, home):
    with visiting(browser, portal) as inviting:
        inviting.sign_in(home.owner)
        link = invite(inviting, "Ida", "member")
    with visiting(browser, portal) as ida:
        page = ida.page
        page.goto(link)
        page.get_by_role("link", name="I have an account").click()
        page.get_by_role("button", name="Go on with Blue").click()
        page.get_by_label("Name at the provider").fill("ida")
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("button", name="Accept the invitation").click()
        expect(page.locator("#organisation")).to_be_visible()
        here = page.locator("#organisation").inner_text()
        tab = ida.another_tab()
        page.locator(".account").click()
        page.get_by_role("button", name="Work in").first.press("Enter")
        expect(page.locator("#organisation")).not_to_have_text(here)
        # A tab from before the change writes nowhere: it says so.
        tab.say("where am I?")
        expect(tab.page.get_by_text("reload the page")).to_be_visible()
        tab.page.close()
        ida.complaints.clear()  # the page of a role that may not write


def test_a_session_that_is_ended_elsewhere_has_its_stream_closed(browser, gateway, home):
    member = home.member
    with visiting(browser, gateway) as here, visiting(browser, gateway) as elsewhere:
        here.sign_in(member)
        expect(here.page.get_by_text("No chats yet")).to_be_visible()
        here.page.evaluate(
            """() => new Promise((opened) => {
                window.socketClosed = new Promise((closed) => {
                    const socket = new WebSocket(`${location.origin.replace("http", "ws")}/api/v1/ws`);
                    socket.onclose = (event) => closed(event.code);
                    socket.onopen = () => opened();
                });
            })"""
        )
        here.say(calls(TIME))  # and a stream of a turn that waits for approval
        expect(here.page.locator(".question")).to_be_visible()
        elsewhere.sign_in(member)
        elsewhere.page.goto(f"{gateway.url}/account/sessions/")
        others = elsewhere.page.get_by_role("button", name="Sign it out")
        others.press("Enter")
        expect(others).to_have_count(0)
        assert here.page.evaluate("() => window.socketClosed") == 4401
        here.page.reload()
        expect(here.page.get_by_role("heading", name="Sign in")).to_be_visible()
        here.complaints.clear()  # of the stream that was closed
