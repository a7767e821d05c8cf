"""Browser sessions end, by whomever, and the audit tells of it."""

from __future__ import annotations

import pytest
from allauth.usersessions.models import UserSession

from somaagent.tenancy import services
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, operator_client, organisation, person, user_of
from tests.integration.accounts.browsing import PASSWORD, browser, forget_attempts

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acme() -> Organisation:
    forget_attempts()
    return organisation("acme")


def signed_in(actor: Actor):
    """A browser of theirs, signed in at the page."""
    client = browser()
    name = user_of(actor).username
    assert client.post("/sign-in/", {"username": name, "password": PASSWORD}).status_code == 302
    return client


def told(acme: Organisation, action: str) -> list[AuditEntry]:
    with tenant_scope(acme.tenant.id):
        return list(AuditEntry.objects.filter(action=action))


def test_one_ends_ones_other_sessions(acme):
    services.user_set_password(user=user_of(acme.owner), password=PASSWORD)
    here, *others = (signed_in(acme.owner) for _ in range(3))
    here.post("/account/sessions/", {"end": "others"})
    assert [client.get("/").status_code for client in (here, *others)] == [200, 302, 302]
    [entry] = told(acme, "user.sessions_ended")
    assert (entry.user_id, entry.facts["sessions"]) == (acme.owner.user_id, 2)


def test_an_operator_ends_somebodys_session(acme):
    member = person("member", acme.tenant)
    services.user_set_password(user=user_of(member), password=PASSWORD)
    theirs = signed_in(member)
    row = UserSession.objects.get(user_id=member.user_id)
    operator = operator_client(acme.owner)
    done = operator.post(f"/admin/usersessions/usersession/{row.pk}/delete/", {"post": "yes"})
    assert done.status_code == 302
    assert theirs.get("/").status_code == 302
    assert len(told(acme, "user_session.deleted")) == 1


def test_another_password_ends_all_whoever_chose_it(acme):
    services.user_set_password(user=user_of(acme.owner), password=PASSWORD)
    theirs = signed_in(acme.owner)
    services.user_set_password(user=user_of(acme.owner), password=f"{PASSWORD} 2", one_time=True)
    assert not UserSession.objects.filter(user_id=acme.owner.user_id).exists()
    assert theirs.get("/").status_code == 302
