"""Somebody of two organisations works in the one that they chose, and in no other unawares."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from allauth.mfa.models import Authenticator

from somaagent.tenancy import services
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.models import Membership, Role, Tenant
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, organisation, submitted, user_of
from tests.integration.accounts.browsing import browser, text_of

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/organisations/"


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


@pytest.fixture
def blue(acme) -> Organisation:
    """Another organisation, where the owner of the first one is a viewer."""
    made = organisation("blue")
    services.membership_create(tenant=made.tenant, user=user_of(acme.owner), role=Role.VIEWER)
    return made


def leave(actor: Actor, tenant: Tenant) -> None:
    with tenant_scope(tenant.id):
        Membership.objects.get(user_id=actor.user_id).delete()


def test_the_choice_holds_for_pages_and_api_and_is_audited(acme, blue):
    with tenant_scope(acme.tenant.id):
        turn = submitted(acme.owner, "hello").turn
    theirs = browser(acme.owner)
    assert theirs.get(f"/api/v1/turns/{turn.id}").status_code == 200
    page = text_of(theirs.get("/"))
    assert "You work in Acme" in page
    assert "Work in Blue" in page
    assert theirs.post(PAGE, {"tenant": blue.tenant.id, "next": "/members/"})["Location"] == "/members/"
    assert "You work in Blue" in text_of(theirs.get("/"))
    assert theirs.get(f"/api/v1/turns/{turn.id}").status_code == 404
    assert theirs.get("/api/v1/members").json()["items"][0]["role"] == "viewer"
    with tenant_scope(blue.tenant.id):
        [entry] = AuditEntry.objects.filter(action="user.tenant_chosen")
        assert (entry.user_id, entry.via) == (acme.owner.user_id, "browser")
    # Neither a header nor the address chooses.
    said = {"x-tenant": str(acme.tenant.id)}
    asked = theirs.get(f"/api/v1/turns/{turn.id}?tenant={acme.tenant.id}", headers=said)
    assert asked.status_code == 404


def test_nobody_chooses_where_they_do_not_belong(acme):
    other = organisation("other")
    theirs = browser(acme.owner)
    for tenant in (other.tenant.id, acme.owner.user_id, "nonsense", ""):
        assert theirs.post(PAGE, {"tenant": tenant}).status_code == 404
    Tenant.objects.filter(id=other.tenant.id).update(suspended_at=datetime.now(UTC))
    services.membership_create(tenant=other.tenant, user=user_of(acme.owner), role=Role.MEMBER)
    assert theirs.post(PAGE, {"tenant": other.tenant.id}).status_code == 404
    assert theirs.post(PAGE, {"tenant": acme.tenant.id, "next": "https://evil.example/"})["Location"] == "/"


@pytest.mark.parametrize("ending", ["membership", "suspended"])
def test_who_lost_their_place_is_told_and_chooses_anew(acme, blue, ending):
    theirs = browser(acme.owner)
    theirs.get("/")  # seeing the page of the first organisation is a choice, too
    if ending == "membership":
        leave(acme.owner, acme.tenant)
    else:
        Tenant.objects.filter(id=acme.tenant.id).update(suspended_at=datetime.now(UTC))
    refused = theirs.get("/api/v1/members")
    assert (refused.status_code, refused.json()["code"]) == (403, "organisation_lost")
    lost = theirs.get("/")
    assert lost.status_code == 403
    assert "You cannot work in Acme any more" in text_of(lost)
    assert "Work in Blue" in text_of(lost)
    assert theirs.post(PAGE, {"tenant": blue.tenant.id})["Location"] == "/"
    assert theirs.get("/").status_code == 200


def test_who_has_no_other_place_is_told_that(acme):
    theirs = browser(acme.owner)
    theirs.get("/")
    leave(acme.owner, acme.tenant)
    told = theirs.get("/")
    assert told.status_code == 403
    assert "You belong to no organisation yet" in text_of(told)
    assert "You cannot work in Acme any more" in text_of(told)


def test_a_page_from_before_the_change_writes_nothing_after_it(acme, blue):
    theirs = browser(acme.owner, enforce_csrf_checks=True)
    before = theirs.get("/").context["csrf_token"]
    fresh = theirs.get(PAGE).context["csrf_token"]
    theirs.post(PAGE, {"tenant": blue.tenant.id, "csrfmiddlewaretoken": str(fresh)})
    refused = theirs.post(
        "/api/v1/turns", {}, content_type="application/json", headers={"x-csrftoken": str(before)}
    )
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf")


def test_the_admin_is_of_the_organisation_that_was_chosen(acme, blue):
    user = user_of(acme.owner)
    user.is_staff = user.is_superuser = True
    user.save()
    theirs = browser(acme.owner)
    assert "Admin of Acme" in text_of(theirs.get("/admin/"))
    assert "/organisations/?next=/admin/" in theirs.get("/admin/").content.decode()
    assert theirs.post(PAGE, {"tenant": blue.tenant.id, "next": "/admin/"})["Location"] == "/admin/"
    assert "Admin of Blue" in text_of(theirs.get("/admin/"))
    leave(acme.owner, blue.tenant)
    assert "You cannot work in Blue any more" in text_of(theirs.get("/admin/"))


def test_a_second_factor_is_asked_for_at_the_next_request(acme, blue, settings):
    theirs = browser(acme.owner)
    assert theirs.get("/").status_code == 200
    settings.MFA_REQUIRED = "owners"
    assert theirs.get("/api/v1/members").status_code == 401
    assert theirs.get("/")["Location"] == "/account/second-factor/"
    # In the organisation where they are a viewer nobody asks; with a second factor, nowhere.
    theirs = browser(acme.owner)
    session = theirs.session
    session["tenant"] = str(blue.tenant.id)
    session.save()
    assert theirs.get("/").status_code == 200
    theirs.post(PAGE, {"tenant": acme.tenant.id})
    assert theirs.get("/")["Location"] == "/account/second-factor/"
    Authenticator.objects.create(user_id=acme.owner.user_id, type="totp", data={})
    assert browser(acme.owner).get("/").status_code == 200


def test_who_came_from_a_provider_is_not_asked_for_a_second_factor(acme, settings):
    settings.MFA_REQUIRED = "everybody"
    theirs = browser(acme.owner)
    session = theirs.session
    session["account_authentication_methods"] = [{"method": "socialaccount"}]
    session.save()
    assert theirs.get("/").status_code == 200
