"""An invitation is accepted in a browser, by who has an account and by who makes one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from allauth.account.models import EmailAddress
from django.contrib.sessions.models import Session

from somaagent.tenancy import invitations
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.models import Invitation, Membership, Role, Tenant, User
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.selectors import belongings, key_digest
from tests.factories import Organisation, organisation, person, user_of
from tests.integration.accounts.browsing import PASSWORD, browser, forget_attempts, text_of

pytestmark = pytest.mark.django_db(transaction=True)

PAGE, ACCEPT, ACCOUNT, LEAVE = (f"/invitations/{part}" for part in ("", "accept/", "account/", "leave/"))
OVER = "This invitation opens nothing"


@pytest.fixture(autouse=True)
def _fresh() -> None:
    forget_attempts()


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


def invited(actor: Actor, role: Role = Role.MEMBER) -> str:
    with tenant_scope(actor.tenant_id):
        _, token = invitations.invitation_create(actor=actor, role=role, name="Grace")
    assert token is not None
    return token


def account(name: str, **facts: str) -> dict[str, str]:
    given = {"username": name, "email": f"{name}@new.example", "password1": PASSWORD, "password2": PASSWORD}
    return given | facts


def actions(acme: Organisation) -> list[str]:
    with tenant_scope(acme.tenant.id):
        return list(AuditEntry.objects.order_by("number").values_list("action", flat=True))


def test_a_newcomer_sees_who_invites_them_makes_an_account_and_is_in(acme):
    token, newcomer = invited(acme.owner, Role.ADMIN), browser()
    assert newcomer.post(PAGE, {"token": f"https://soma.example/invitations/#{token}"})["Location"] == PAGE
    shown = text_of(newcomer.get(PAGE))
    assert f"{user_of(acme.owner).username} invites you to work in Acme as admin" in shown
    assert "sign in" in shown
    # Of the token nothing is kept in the session but its digest.
    kept = [session.get_decoded() for session in Session.objects.all()]
    assert [one["invitation"] for one in kept if "invitation" in one] == [key_digest(token).hex()]
    name = f"grace-{acme.tenant.slug}"
    assert newcomer.post(ACCOUNT, account(name))["Location"] == "/"
    assert "Acme" in text_of(newcomer.get("/"))
    user = User.objects.get(username=name)
    assert [(place.tenant_id, place.role) for place in belongings(user.pk)] == [(acme.tenant.id, "admin")]
    assert not EmailAddress.objects.filter(user=user, verified=True).exists()
    assert (user.is_staff, user.is_superuser) == (False, False)
    assert actions(acme)[-2:] == ["user.created", "user.signed_in"]
    # It was good once.
    assert OVER in text_of(browser().post(PAGE, {"token": token}))


def test_who_is_signed_in_accepts_and_works_there(acme):
    guest = organisation("guest").owner
    theirs = browser(guest)
    theirs.post(PAGE, {"token": invited(acme.owner)})
    assert f"signed in as {user_of(guest).username}" in text_of(theirs.get(PAGE))
    assert theirs.post(ACCEPT)["Location"] == "/"
    assert theirs.get("/api/v1/members").json()["items"][0]["role"] == "member"
    assert "Guest" in text_of(theirs.get("/organisations/"))
    assert actions(acme)[-1] == "user.tenant_chosen"


def test_somebody_with_an_account_signs_in_and_comes_back(acme):
    guest = organisation("guest").owner
    user = user_of(guest)
    user.set_password(PASSWORD)
    user.save()
    theirs = browser()
    theirs.post(PAGE, {"token": invited(acme.owner)})
    signed_in = theirs.post("/sign-in/", {"username": user.username, "password": PASSWORD, "next": PAGE})
    assert signed_in["Location"] == PAGE
    assert "Accept the invitation" in text_of(theirs.get(PAGE))
    assert theirs.post(ACCEPT)["Location"] == "/"
    assert len(belongings(user.pk)) == 2


def test_somebody_else_accepts_it_in_the_same_browser(acme):
    theirs = browser(person("member", acme.tenant))
    theirs.post(PAGE, {"token": invited(acme.owner)})
    refused = theirs.post(ACCEPT)
    assert refused.status_code == 409
    assert "member there already" in text_of(refused)
    assert theirs.post(LEAVE)["Location"] == PAGE
    assert "Or make an account" in text_of(theirs.get(PAGE))
    theirs.post(LEAVE, {"forget": ""})
    assert "paste it here" in text_of(theirs.get(PAGE))


@pytest.mark.parametrize("ending", ["revoked", "expired", "used", "tenant off", "unknown", "empty"])
def test_one_that_is_over_is_told_in_one_sentence_whatever_became_of_it(acme, ending):
    token, theirs = invited(acme.owner), browser()
    theirs.post(PAGE, {"token": token})
    with tenant_scope(acme.tenant.id):
        if ending == "revoked":
            invitations.invitation_revoke(actor=acme.owner, invitation_id=Invitation.objects.get().id)
        elif ending == "expired":
            Invitation.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    if ending == "tenant off":
        Tenant.objects.filter(id=acme.tenant.id).update(suspended_at=datetime.now(UTC))
    elif ending == "used":
        guest = organisation("guest").owner.user_id
        invitations.invitation_accept(digest=key_digest(token), user_id=guest)
    wrong = {"unknown": f"{token}x", "empty": ""}.get(ending)
    if wrong is None:
        made = theirs.post(ACCOUNT, account(f"late-{acme.tenant.slug}"))
        assert made.status_code == 404
        assert not User.objects.filter(username=f"late-{acme.tenant.slug}").exists()
        wrong = token
    refused = browser().post(PAGE, {"token": wrong})
    assert refused.status_code == 404
    assert OVER in text_of(refused)
    assert "Acme" not in text_of(refused)


def test_what_is_wrong_with_an_account_is_told_at_its_field(acme):
    taken = user_of(acme.owner).username
    theirs = browser()
    theirs.post(PAGE, {"token": invited(acme.owner)})
    name = f"new-{acme.tenant.slug}"
    wrongs = {
        "already exists": account(taken.upper()),
        "too common": account(name, password1="password1234", password2="password1234"),
        "match": account(name, password2="something else here"),
        "valid email": account(name, email="nowhere"),
        "required": account("", email=""),
    }
    for sentence, given in wrongs.items():
        refused = theirs.post(ACCOUNT, given)
        assert refused.status_code == 422
        assert sentence in text_of(refused)
    assert theirs.post(ACCOUNT, account(name)).status_code == 302


def test_without_an_invitation_nobody_makes_an_account(acme):
    before = User.objects.count()
    assert browser().post(ACCOUNT, account("nobody"))["Location"] == PAGE
    assert browser(acme.owner).post(ACCOUNT, account("nobody"))["Location"] == PAGE
    assert browser().get(ACCOUNT).status_code == 405
    assert User.objects.count() == before


def test_failed_attempts_are_limited_and_good_ones_are_not(acme):
    thief = browser()
    for _ in range(20):
        assert thief.post(PAGE, {"token": "inv_guess"}).status_code == 404
    refused = thief.post(PAGE, {"token": invited(acme.owner)})
    assert (refused.status_code, refused["Retry-After"]) == (429, "300")
    forget_attempts()
    for _ in range(25):
        assert browser().post(PAGE, {"token": invited(acme.owner)}).status_code == 302


def test_who_has_to_choose_a_password_first_does_so_and_comes_back(acme):
    guest = user_of(organisation("guest").owner)
    guest.password_is_one_time = True
    guest.save()
    theirs = browser()
    theirs.force_login(guest)
    theirs.post(PAGE, {"token": invited(acme.owner)})
    assert theirs.get(PAGE)["Location"] == "/account/password/?next=%2Finvitations%2F"
    assert theirs.post(ACCEPT)["Location"].startswith("/account/password/")
    with tenant_scope(acme.tenant.id):
        assert not Membership.objects.filter(user=guest).exists()
