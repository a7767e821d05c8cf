"""No operator takes a tenant's last owner by a form of the admin, and the form says so."""

from __future__ import annotations

from typing import Any

import pytest

from somaagent.tenancy import arrivals, services
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import Membership, Role, User
from somaagent.tenancy.owners import left_without_owner
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, operator_client, organisation, person, user_of

pytestmark = pytest.mark.django_db

USERS, MEMBERSHIPS = "/admin/tenancy/user/", "/admin/tenancy/membership/"
SENTENCE = "no owner left who can act"


@pytest.fixture
def home() -> Organisation:
    return organisation("home")


@pytest.fixture
def admin(home) -> Any:
    """The browser of an operator who is an admin of the tenant, and not its owner."""
    return operator_client(person("operator", home.tenant, Role.ADMIN))


def row_of(actor: Actor) -> Membership:
    with tenant_scope(actor.tenant_id):
        return Membership.objects.get(user_id=actor.user_id)


def form_of(admin: Any, address: str) -> dict[str, Any]:
    """What a form of the admin would send as it is."""
    page = admin.get(address).context["adminform"].form
    given = {name: value for name, value in page.initial.items() if value not in (None, False)}
    return {name: getattr(value, "pk", value) for name, value in given.items() if name in page.fields}


def user_form(admin: Any, actor: Actor, **changes: Any) -> dict[str, Any]:
    address = f"{USERS}{actor.user_id}/change/"
    member = row_of(actor)
    inline = {"TOTAL_FORMS": 1, "INITIAL_FORMS": 1, "0-id": member.pk, "0-user": actor.user_id}
    inline["0-role"] = member.role
    rows = {f"memberships-{name}": value for name, value in inline.items()}
    given = form_of(admin, address) | rows | changes
    return {name: value for name, value in given.items() if value is not None}


def test_the_last_owner_is_not_demoted_or_deleted(home, admin):
    member = row_of(home.owner)
    demoted = {"user": home.owner.user_id, "role": "member"}
    assert SENTENCE in admin.post(f"{MEMBERSHIPS}{member.pk}/change/", demoted).content.decode()
    of_user = f"{USERS}{home.owner.user_id}/change/"
    for change in ({"memberships-0-role": "viewer"}, {"memberships-0-DELETE": "on"}):
        refused = admin.post(of_user, user_form(admin, home.owner, **change))
        assert refused.status_code == 200
        assert SENTENCE in refused.content.decode()
    for address in (f"{MEMBERSHIPS}{member.pk}/delete/", f"{USERS}{home.owner.user_id}/delete/"):
        assert "the last owner of Home" in admin.get(address).content.decode()
        admin.post(address, {"post": "yes"})
    assert row_of(home.owner).role == "owner"
    assert user_of(home.owner).is_active


def test_of_two_owners_one_may_go_and_not_both_at_once(home, admin):
    other = person("owner", home.tenant, Role.OWNER)
    both = [str(row_of(actor).pk) for actor in (home.owner, other)]
    action = {"action": "delete_selected", "_selected_action": both, "post": "yes"}
    assert "the last owner of Home" in admin.post(MEMBERSHIPS, action).content.decode()
    assert admin.post(f"{MEMBERSHIPS}{both[1]}/delete/", {"post": "yes"}).status_code == 302
    with tenant_scope(home.tenant.id):
        assert Membership.objects.filter(role=Role.OWNER).count() == 1


def test_an_owner_who_is_shut_out_keeps_nothing(home, admin):
    """Also an identity provider's groups: one who cannot act is no other owner."""
    other = person("owner", home.tenant, Role.OWNER)
    User.objects.filter(id=other.user_id).update(is_active=False)
    member = row_of(home.owner)
    demoted = {"user": home.owner.user_id, "role": "member"}
    assert SENTENCE in admin.post(f"{MEMBERSHIPS}{member.pk}/change/", demoted).content.decode()
    arrivals.membership_arrive(
        tenant_id=home.tenant.id, user=user_of(home.owner), role=Role.MEMBER, follows=True
    )
    assert row_of(home.owner).role == "owner"


def test_a_user_is_the_last_owner_of_each_of_their_tenants(home, admin):
    person("owner", home.tenant, Role.OWNER)
    away = organisation("away")
    with tenant_scope(away.tenant.id):
        Membership.objects.all().delete()
    services.membership_create(tenant=away.tenant, user=user_of(home.owner), role=Role.OWNER)
    assert left_without_owner(leaving=[home.owner.user_id]) == ["Away"]
    assert left_without_owner(leaving=[home.owner.user_id], tenant_id=home.tenant.id) == []
    refused = admin.get(f"{USERS}{home.owner.user_id}/delete/").content.decode()
    assert "the last owner of Away" in refused
    assert "the last owner of Home" not in refused
