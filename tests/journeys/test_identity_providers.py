"""People sign in with an identity provider: a certified one, in a real browser."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.client import browserlike
from tests.journeys.audited import told_of
from tests.journeys.gateway import Gateway, another_gateway, free_port, public_url
from tests.journeys.house import House, house
from tests.journeys.page import Visitor, visiting
from tests.oidc import provider as oidc

SECRET = "what-the-provider-and-we-know"
PEOPLE: dict[str, dict[str, Any]] = {
    "ann": {"email": "ann@acme.example", "email_verified": True, "groups": ["staff", "agents-admins"]},
    "bob": {"email": "bob@acme.example", "email_verified": True, "groups": ["gardeners"]},
    "carl": {"email": "carl@acme.example", "email_verified": False, "groups": ["staff"]},
    "dora": {"email": "Dora@acme.example", "email_verified": True, "groups": ["staff"]},
    "eve": {"email": "eve@acme.example", "email_verified": True, "groups": ["staff"]},
    "olga": {"email": "olga@acme.example", "email_verified": True, "groups": ["staff"]},
    "tom": {"email": "tom@acme.example", "email_verified": "true", "groups": "staff"},
    "fay": {"email": "fay@blue.example", "email_verified": True},
    "gus": {"email": "gus@nowhere.example", "email_verified": True},
    "hal": {"email": "hal@blue.example", "email_verified": False},
}


@dataclass(frozen=True)
class Portal:
    """A gateway whose people come from a provider: of ``acme`` by the issuer, of ``blue`` by their domain."""

    gateway: Gateway
    acme: House
    blue: House


@pytest.fixture(scope="module")
def portal(gateway, stack, tmp_path_factory) -> Iterator[Portal]:
    acme, blue = house(gateway), house(gateway)
    port, provider_port = free_port(), free_port()
    issuer = oidc.issuer_at(provider_port)
    back = f"{public_url(stack, port)}/sign-in/with/{{}}/back/"
    facts = {"issuer": issuer, "scopes": ["openid", "email", "profile", "groups"]}
    declared = {
        "acme": facts
        | {"name": "Acme", "client_id": "of-acme", "tenant": slug(gateway, acme)}
        | {"roles": {"agents-admins": "admin", "staff": "member"}},
        "domains": facts
        | {"name": "Any domain", "client_id": "of-domains", "role": "viewer"}
        | {"domains": {"blue.example": slug(gateway, blue)}},
        "keyless": facts | {"name": "Keyless", "client_id": "x", "tenant": "x", "role": "member"},
        "astray": facts
        | {"name": "Astray", "client_id": "of-acme", "tenant": "x", "role": "member"}
        | {"issuer": f"{issuer}/"},
    }
    clients = [
        {"client_id": facts["client_id"], "client_secret": SECRET, "redirect_uris": [back.format(name)]}
        | {"token_endpoint_auth_method": "client_secret_post"}
        for name, facts in declared.items()
        if name in ("acme", "domains")
    ]
    for name in ("acme", "domains", "astray"):
        oidc.keep_secret(stack, name, SECRET)
    folder = tmp_path_factory.mktemp("portal")
    with (
        oidc.running(stack.certificate, port=provider_port, clients=clients, people=PEOPLE),
        another_gateway(
            gateway, stack, folder, port=port, settings={"SA01_OIDC_PROVIDERS": json.dumps(declared)}
        ) as url,
    ):
        yield Portal(dataclasses.replace(gateway, url=url), acme, blue)


def slug(gateway: Gateway, home: House) -> str:
    from somaagent.tenancy.models import Tenant  # noqa: PLC0415 - Django is not configured before

    return gateway.in_database(lambda: Tenant.objects.get(id=home.tenant_id).slug)


def local_account(gateway: Gateway, home: House, name: str, *, verified: bool, staff: bool = False) -> str:
    """Somebody who signed in by a password before; their name here."""
    from allauth.account.models import EmailAddress  # noqa: PLC0415 - Django is not configured before

    from somaagent.tenancy import services as tenancy  # noqa: PLC0415 - as above
    from somaagent.tenancy.models import Role, Tenant  # noqa: PLC0415 - as above

    def made() -> str:
        user = tenancy.user_create(username=f"{name}-here", password="one-of-their-own", is_staff=staff)
        user.email = f"{name}@acme.example"
        user.save()
        EmailAddress.objects.create(user=user, email=user.email, verified=verified, primary=True)
        tenancy.membership_create(tenant=Tenant.objects.get(id=home.tenant_id), user=user, role=Role.VIEWER)
        return user.username

    return gateway.in_database(made)


def roles(gateway: Gateway, name: str, home: House) -> list[str]:
    from somaagent.tenancy.models import Membership  # noqa: PLC0415 - Django is not configured before
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    def read() -> list[str]:
        with tenant_scope(home.tenant_id):
            return list(Membership.objects.filter(user__username=name).values_list("role", flat=True))

    return gateway.in_database(read)


@contextlib.contextmanager
def arriving(browser, portal: Portal, name: str, button: str = "Go on with Acme") -> Iterator[Visitor]:
    """Somebody who went to the provider and says there who they are. Refusals count as no complaint."""
    with visiting(browser, portal.gateway) as somebody:
        somebody.page.goto(f"{portal.gateway.url}/?archived")
        somebody.page.get_by_role("button", name=button).press("Enter")
        at_provider(somebody.page, name)
        yield somebody


def at_provider(page: Page, name: str) -> None:
    page.get_by_label("Name at the provider").fill(name)
    page.get_by_role("button", name="Continue").click()


def refused(somebody: Visitor, sentence: str) -> None:
    expect(somebody.page.get_by_text(sentence)).to_be_visible()
    # The browser's own word about the page's status.
    somebody.complaints[:] = [said for said in somebody.complaints if "status of 40" not in said]
    somebody.page.goto(f"{somebody.url}/")
    expect(somebody.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_newcomer_gets_an_account_with_the_role_of_their_groups(browser, portal):
    for _ in range(2):
        with arriving(browser, portal, "ann") as ann:
            expect(ann.page.get_by_text("Nothing is archived.")).to_be_visible()
            expect(ann.page).to_have_url(re.compile(r"/\?archived$"))
        assert roles(portal.gateway, "ann", portal.acme) == ["admin"]
        set_role(portal, "ann", "viewer")  # by hand; the groups have the last word at the next sign-in
    assert told_of(portal.gateway, "ann") == [
        "membership.created", "user.created", "user.signed_in", "membership.changed", "user.signed_in",
    ]  # fmt: skip


def set_role(portal: Portal, name: str, role: str) -> None:
    from somaagent.tenancy.models import Membership  # noqa: PLC0415 - Django is not configured before
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    def write() -> None:
        with tenant_scope(portal.acme.tenant_id):
            assert Membership.objects.filter(user__username=name).update(role=role)

    portal.gateway.in_database(write)


def test_who_is_in_no_group_is_refused_in_words(browser, portal):
    with arriving(browser, portal, "bob") as bob:
        refused(bob, "Acme has you in none of the groups")
    assert roles(portal.gateway, "bob", portal.acme) == []


def test_accounts_are_merged_on_an_address_that_both_sides_verified(browser, portal):
    name = local_account(portal.gateway, portal.acme, "dora", verified=True)
    with arriving(browser, portal, "dora") as dora:
        expect(dora.page.get_by_role("button", name=name)).to_be_visible()
    assert roles(portal.gateway, name, portal.acme) == ["member"]
    assert told_of(portal.gateway, name) == ["user.account_merged", "membership.changed", "user.signed_in"]
    with visiting(browser, portal.gateway) as dora:
        dora.page.goto(f"{portal.gateway.url}/sign-in/")
        dora.page.get_by_label("Username").fill(name)
        dora.page.get_by_label("Password").fill("one-of-their-own")
        dora.page.get_by_role("button", name="Sign in").click()
        expect(dora.page.get_by_role("button", name=name)).to_be_visible()


@pytest.mark.parametrize(
    ("name", "where", "verified", "staff"),
    [
        ("carl", "acme", True, False),  # the provider has not verified it
        ("tom", "acme", True, False),  # nor here: a text is not true
        ("eve", "blue", True, False),  # the account reaches another organisation
        ("olga", "acme", True, True),  # the account is an operator's
    ],
)
def test_an_account_of_another_s_is_not_given_away(browser, portal, name, where, verified, staff):
    local = local_account(portal.gateway, getattr(portal, where), name, verified=verified, staff=staff)
    with arriving(browser, portal, name) as somebody:
        refused(somebody, "An account with your e-mail address exists already")
    assert roles(portal.gateway, local, getattr(portal, where)) == ["viewer"]


def test_the_domain_of_a_verified_address_says_which_organisation(browser, portal):
    with arriving(browser, portal, "fay", "Go on with Any domain") as fay:
        expect(fay.page.get_by_role("button", name="fay")).to_be_visible()
    assert roles(portal.gateway, "fay", portal.blue) == ["viewer"]
    with arriving(browser, portal, "gus", "Go on with Any domain") as gus:
        refused(gus, "No organisation here has the e-mail domain nowhere.example")
    with arriving(browser, portal, "hal", "Go on with Any domain") as hal:
        refused(hal, "does not say that your e-mail address is verified")


def test_who_cancels_is_told_how_to_go_on(browser, portal):
    with visiting(browser, portal.gateway) as somebody:
        somebody.page.goto(f"{portal.gateway.url}/sign-in/")
        somebody.page.get_by_role("button", name="Go on with Acme").click()
        somebody.page.get_by_role("button", name="Cancel").click()
        refused(somebody, "You did not sign in at Acme")


def begun(portal: Portal, name: str) -> tuple[requests.Session, requests.Response]:
    """The way to a provider, begun without a browser."""
    browser = browserlike(portal.gateway.url)
    page = browser.get(f"{portal.gateway.url}/sign-in/?next=https://evil.invalid/", timeout=30)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    data = {"csrfmiddlewaretoken": token, "next": "https://evil.invalid/"}
    return browser, browser.post(f"{portal.gateway.url}/sign-in/with/{name}/", data=data, timeout=30)


def test_the_way_out_has_pkce_a_nonce_and_a_state_and_needs_the_page_s_token(portal):
    _, out = begun(portal, "acme")
    url = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', out.text)[1]
    for wanted in ("code_challenge_method=S256", "code_challenge=", "nonce=", "state=", "response_type=code"):
        assert wanted in url
    assert SECRET not in out.text
    assert "evil" not in out.text
    assert "form-action 'self'" in out.headers["Content-Security-Policy"]
    bare = requests.post(f"{portal.gateway.url}/sign-in/with/acme/", timeout=30)
    assert bare.status_code == 403
    assert requests.get(f"{portal.gateway.url}/sign-in/with/acme/", timeout=30).status_code == 405


def test_an_answer_to_a_question_that_nobody_asked_is_refused(portal):
    browser, _ = begun(portal, "acme")
    for query in ("code=made-up&state=made-up", "code=made-up", "error=access_denied", ""):
        answer = browser.get(f"{portal.gateway.url}/sign-in/with/acme/back/?{query}", timeout=30)
        assert answer.status_code == 502
        assert "Signing in with Acme failed" in answer.text


def test_a_provider_that_is_not_set_up_or_not_who_it_should_be_is_said_to_be(portal):
    assert begun(portal, "nobody")[1].status_code == 404
    _, keyless = begun(portal, "keyless")
    assert (keyless.status_code, "client secret cannot be read" in keyless.text) == (503, True)
    _, astray = begun(portal, "astray")
    assert (astray.status_code, "cannot be asked now" in astray.text) == (502, True)
