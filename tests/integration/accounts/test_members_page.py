"""Members and invitations are managed in a browser."""

from __future__ import annotations

import re

import pytest

from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import Invitation, Membership, Role
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, organisation, person, user_of
from tests.integration.accounts.browsing import browser, text_of

pytestmark = pytest.mark.django_db(transaction=True)

PAGE, INVITE = "/members/", "/members/invitations/"


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


def row_of(actor: Actor) -> Membership:
    with tenant_scope(actor.tenant_id):
        return Membership.objects.get(user_id=actor.user_id)


def test_an_owner_invites_once_and_sees_the_link_once(acme):
    theirs = browser(acme.owner)
    assert "None. Who is invited gets a link" in text_of(theirs.get(PAGE))
    given = {"name": "Grace <b>", "role": "admin", "key": "abc"}
    made = theirs.post(INVITE, given)
    assert re.search(r'value="http[^"]+/invitations/#inv_[\w-]+"', made.content.decode())
    assert "Grace <b>" in text_of(made)
    again = theirs.post(INVITE, given)
    assert "made before" in text_of(again)
    assert "#inv_" not in again.content.decode()
    assert theirs.post(INVITE, {**given, "name": "Else"}).status_code == 422
    with tenant_scope(acme.tenant.id):
        [invitation] = Invitation.objects.all()
    assert theirs.post(f"/members/invitations/{invitation.id}/revoke/")["Location"] == PAGE
    assert "None. Who is invited" in text_of(theirs.get(PAGE))


def test_roles_are_changed_and_what_cannot_be_is_told_at_the_row(acme):
    member = person("member", acme.tenant)
    theirs = browser(acme.owner)
    assert theirs.post(f"/members/{row_of(member).id}/role/", {"role": "viewer"})["Location"] == PAGE
    assert row_of(member).role == "viewer"
    mine = row_of(acme.owner)
    refused = theirs.post(f"/members/{mine.id}/role/", {"role": "admin"})
    assert refused.status_code == 409
    assert f'id="error-{mine.id}"' in refused.content.decode()
    assert "keeps at least one owner" in text_of(refused)
    assert theirs.post(f"/members/{mine.id}/role/", {"role": "king"}).status_code == 422
    assert theirs.post(f"/members/{mine.id}/remove/").status_code == 409


def test_a_member_is_removed_after_a_question(acme):
    member = person("member", acme.tenant)
    theirs, address = browser(acme.owner), f"/members/{row_of(member).id}/remove/"
    assert f"Remove {user_of(member).username}?" in text_of(theirs.get(address))
    assert theirs.post(address)["Location"] == PAGE
    assert theirs.get(address).status_code == 404


def test_who_manages_nobody_sees_themselves_and_may_leave(acme):
    member = person("member", acme.tenant)
    theirs = browser(member)
    shown = text_of(theirs.get(PAGE))
    assert user_of(member).username in shown
    assert user_of(acme.owner).username not in shown
    assert "Invite somebody" not in shown
    assert theirs.get(f"/members/{row_of(acme.owner).id}/remove/").status_code == 404
    assert theirs.post(INVITE, {"name": "", "role": "member", "key": "k"}).status_code == 403
    assert theirs.post(f"/members/{row_of(member).id}/remove/")["Location"] == "/"
    assert "no organisation" in text_of(theirs.get("/"))


def test_an_admin_leaves_owners_alone(acme):
    theirs = browser(person("admin", acme.tenant, Role.ADMIN))
    page = theirs.get(PAGE).content.decode()
    assert "<option>owner" not in page
    mine = row_of(acme.owner)
    assert f"/members/{mine.id}/remove/" not in page
    assert theirs.post(f"/members/{mine.id}/role/", {"role": "viewer"}).status_code == 403
    assert theirs.post(INVITE, {"name": "", "role": "owner", "key": "k"}).status_code == 403


def test_anothers_rows_look_like_none(acme):
    outsider = browser(organisation("other").owner)
    mine = row_of(acme.owner)
    assert outsider.get(f"/members/{mine.id}/remove/").status_code == 404
    assert outsider.post(f"/members/{mine.id}/role/", {"role": "viewer"}).status_code == 404
    assert outsider.post(f"/members/invitations/{mine.id}/revoke/").status_code == 404
    assert outsider.get(f"{PAGE}?cursor=nonsense").status_code == 404
    assert browser().get(PAGE)["Location"].startswith("/sign-in/")
