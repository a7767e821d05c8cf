"""Members, invitations and API keys over the API: who may do what, and when it counts."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from somaagent.errors import SomaError
from somaagent.tenancy import invitations, members, services
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import ApiKey, Invitation, Membership, Role, Tenant, User
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.selectors import actor_by_api_key, actor_by_user, key_digest
from tests.factories import Organisation, at_once, key_of, operator_client, organisation, person
from tests.integration.tenancy.town import Program

pytestmark = pytest.mark.django_db(transaction=True)

KEYS, MEMBERS, INVITATIONS = "/api/v1/api-keys", "/api/v1/members", "/api/v1/invitations"
ACCEPT = f"{INVITATIONS}/accept"


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


def program(actor: Actor) -> Program:
    return Program(key_of(actor))


def member_id(actor: Actor) -> UUID:
    with tenant_scope(actor.tenant_id):
        return Membership.objects.get(user_id=actor.user_id).id


def roles(acme: Organisation) -> dict[UUID, str]:
    with tenant_scope(acme.tenant.id):
        return dict(Membership.objects.values_list("user_id", "role"))


def refusal(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.content
    return answer.json()["code"]


def later(**delta: int) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


# -- keys --


def test_a_member_makes_uses_lists_and_revokes_a_key(acme):
    member = person("member", acme.tenant)
    made = program(member).made(KEYS, {"name": "  My laptop ", "expires_at": later(days=1)})
    assert made["name"] == "My laptop"
    assert made["scopes"] == ["read", "write"]
    assert made["last_used_at"] is None
    mine = Program(made["key"])
    shown = mine.call("GET", f"{KEYS}/{made['id']}").json()
    assert shown["last_used_at"] is not None
    assert "key" not in shown
    assert made["key"].startswith(shown["prefix"])
    listed = mine.call("GET", KEYS).json()["items"]
    assert [key["name"] for key in listed] == ["My laptop", "test"]
    assert made["key"] not in str(listed)
    assert mine.call("DELETE", f"{KEYS}/{made['id']}").status_code == 204
    assert refusal(mine.call("GET", KEYS), 401) == "credential_refused"


def test_a_key_that_has_expired_is_dead(acme):
    made = program(acme.owner).made(KEYS, {"name": "brief", "expires_at": later(hours=1)})
    with tenant_scope(acme.tenant.id):
        ApiKey.objects.filter(id=made["id"]).update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert refusal(Program(made["key"]).call("GET", KEYS), 401) == "credential_refused"
    refused = program(acme.owner).call("POST", KEYS, {"name": "late", "expires_at": later(hours=-1)})
    assert refusal(refused, 422) == "invalid"


def test_a_key_is_made_once_for_an_idempotency_key_and_its_text_is_told_once(acme):
    owner = program(acme.owner)
    first, again = (owner.call("POST", KEYS, {"name": "ci"}, idempotency_key="a").json() for _ in range(2))
    assert first["id"] == again["id"]
    assert first["key"] is not None
    assert again["key"] is None
    other = owner.call("POST", KEYS, {"name": "other"}, idempotency_key="a")
    assert refusal(other, 422) == "idempotency_key_reused"


def test_a_key_can_give_no_more_than_it_has(acme):
    reader = Program(key_of(acme.owner, scopes=["read"]))
    assert refusal(reader.call("POST", KEYS, {"name": "more"}), 403) == "scope_missing"
    made = program(acme.owner).made(KEYS, {"name": "less", "scopes": ["read"]})
    less = Program(made["key"])
    assert less.call("GET", "/api/v1/sessions").status_code == 200
    assert refusal(less.call("POST", "/api/v1/sessions", {}), 403) == "scope_missing"


def test_only_an_operator_makes_a_key_that_operates_the_platform_and_only_where_it_is_asked_for(acme):
    everything = ["read", "write", "operate"]
    owner = Program(key_of(acme.owner, scopes=everything))
    assert refusal(owner.call("POST", KEYS, {"name": "more", "scopes": everything}), 403) == "operator_only"
    operator_client(acme.owner)
    assert owner.made(KEYS, {"name": "as usual"})["scopes"] == ["read", "write"]
    assert owner.made(KEYS, {"name": "operating", "scopes": everything})["scopes"] == sorted(everything)
    plain = program(acme.owner).call("POST", KEYS, {"name": "more", "scopes": everything})
    assert refusal(plain, 403) == "scope_missing"


def test_a_viewer_s_key_reads_only_whatever_it_was_granted(acme):
    member = person("member", acme.tenant)
    made = program(member).made(KEYS, {"name": "all"})
    changed = program(acme.owner).call("PATCH", f"{MEMBERS}/{member_id(member)}", {"role": "viewer"})
    assert changed.status_code == 200
    key = Program(made["key"])
    assert key.call("GET", "/api/v1/sessions").status_code == 200
    assert refusal(key.call("POST", "/api/v1/sessions", {}), 403) == "scope_missing"


def test_members_see_their_own_keys_and_managers_those_of_all(acme):
    member, admin = person("member", acme.tenant), person("admin", acme.tenant, Role.ADMIN)
    theirs = program(member).made(KEYS, {"name": "theirs"})
    owner_s = program(acme.owner).made(KEYS, {"name": "the owner's"})
    assert refusal(program(member).call("GET", f"{KEYS}?everyone=true"), 403) == "role_forbidden"
    assert refusal(program(member).call("GET", f"{KEYS}/{owner_s['id']}"), 404) == "not_found"
    assert refusal(program(member).call("DELETE", f"{KEYS}/{owner_s['id']}"), 404) == "not_found"
    names = {key["name"] for key in program(admin).call("GET", f"{KEYS}?everyone=true").json()["items"]}
    assert {"theirs", "the owner's"} <= names
    # An admin ends a member's key; an owner's only an owner does.
    assert refusal(program(admin).call("DELETE", f"{KEYS}/{owner_s['id']}"), 403) == "role_forbidden"
    assert program(admin).call("DELETE", f"{KEYS}/{theirs['id']}").status_code == 204
    assert refusal(Program(theirs["key"]).call("GET", KEYS), 401) == "credential_refused"


# -- members --


def test_who_may_change_whose_role(acme):
    owner = program(acme.owner)
    admin, member = person("admin", acme.tenant, Role.ADMIN), person("member", acme.tenant)
    by_admin, by_member = program(admin), program(member)
    change = {"role": "admin"}
    assert refusal(by_member.call("PATCH", f"{MEMBERS}/{member_id(member)}", change), 403) == "role_forbidden"
    assert refusal(by_member.call("PATCH", f"{MEMBERS}/{member_id(admin)}", change), 404) == "not_found"
    assert by_admin.call("PATCH", f"{MEMBERS}/{member_id(member)}", change).json()["role"] == "admin"
    make_owner = by_admin.call("PATCH", f"{MEMBERS}/{member_id(admin)}", {"role": "owner"})
    assert refusal(make_owner, 403) == "role_forbidden"
    for method, body in (("PATCH", {"role": "member"}), ("DELETE", None)):
        refused = by_admin.call(method, f"{MEMBERS}/{member_id(acme.owner)}", body)
        assert refusal(refused, 403) == "role_forbidden"
    assert owner.call("PATCH", f"{MEMBERS}/{member_id(admin)}", {"role": "owner"}).status_code == 200
    assert roles(acme) == {acme.owner.user_id: "owner", admin.user_id: "owner", member.user_id: "admin"}


def test_a_member_who_is_removed_is_out_at_once(acme):
    member = person("member", acme.tenant)
    theirs = program(member)
    assert theirs.call("GET", MEMBERS).json()["items"][0]["user_id"] == str(member.user_id)
    listed = program(acme.owner).call("GET", MEMBERS).json()["items"]
    assert {item["role"] for item in listed} == {"owner", "member"}
    assert program(acme.owner).call("DELETE", f"{MEMBERS}/{member_id(member)}").status_code == 204
    assert refusal(theirs.call("GET", MEMBERS), 401) == "credential_refused"
    assert actor_by_user(member.user_id) is None


def test_a_member_may_leave_and_the_last_owner_may_not(acme):
    admin, idle = person("admin", acme.tenant, Role.ADMIN), person("idle", acme.tenant, Role.OWNER)
    assert program(admin).call("DELETE", f"{MEMBERS}/{member_id(admin)}").status_code == 204
    # An owner who is suspended cannot act: they do not count.
    User.objects.filter(id=idle.user_id).update(is_active=False)
    owner = program(acme.owner)
    mine = f"{MEMBERS}/{member_id(acme.owner)}"
    assert refusal(owner.call("DELETE", mine), 409) == "last_owner"
    assert refusal(owner.call("PATCH", mine, {"role": "admin"}), 409) == "last_owner"
    User.objects.filter(id=idle.user_id).update(is_active=True)
    assert owner.call("PATCH", mine, {"role": "admin"}).status_code == 200


def test_owners_who_remove_each_other_at_once_leave_one(acme):
    second = person("second", acme.tenant, Role.OWNER)
    pairs = [(acme.owner, member_id(second)), (second, member_id(acme.owner))]

    def remove(actor: Actor, whom: UUID) -> None:
        with tenant_scope(acme.tenant.id):
            members.member_remove(actor=actor, member_id=whom)

    came = at_once(*(functools.partial(remove, *pair) for pair in pairs))
    assert sorted(came) == ["done", "not_found"]
    assert list(roles(acme).values()) == ["owner"]


# -- invitations --


def test_an_invitation_makes_a_user_of_elsewhere_a_member_once(acme):
    guest, thief = organisation("guest").owner, organisation("thief").owner
    made = program(acme.owner).made(INVITATIONS, {"role": "viewer", "name": "Grace"})
    token = made["token"]
    with tenant_scope(acme.tenant.id):
        assert token.encode() not in bytes(Invitation.objects.get().digest)
    shown = invitations.invitation_shown(digest=key_digest(token))
    assert (shown.tenant_name, shown.role) == ("Acme", "viewer")
    accepted = program(guest).call("POST", ACCEPT, {"token": token})
    assert accepted.json()["tenant"] == "Acme"
    assert accepted.json()["role"] == "viewer"
    # Shown again by the same user it changes nothing; by another it is unknown.
    assert program(guest).call("POST", ACCEPT, {"token": token}).json() == accepted.json()
    assert refusal(program(thief).call("POST", ACCEPT, {"token": token}), 404) == "not_found"
    assert roles(acme)[guest.user_id] == "viewer"
    listed = program(acme.owner).call("GET", INVITATIONS).json()["items"]
    assert [(item["name"], item["accepted_at"] is not None) for item in listed] == [("Grace", True)]
    assert token not in str(listed)


def test_a_user_who_is_new_becomes_a_member_by_the_same_service(acme):
    made = program(acme.owner).made(INVITATIONS, {"role": "admin"})
    somebody = User.objects.create(username=f"new-{acme.tenant.slug}")
    accepted = invitations.invitation_accept(digest=key_digest(made["token"]), user_id=somebody.id)
    assert accepted.membership.role == "admin"
    actor = actor_by_user(somebody.id)
    assert actor is not None
    assert (actor.tenant_id, actor.role) == (acme.tenant.id, "admin")


@pytest.mark.parametrize("ending", ["revoked", "expired", "tenant off", "user off", "unknown"])
def test_an_invitation_that_is_over_looks_like_none(acme, ending):
    made = program(acme.owner).made(INVITATIONS, {})
    token = made["token"]
    guest = User.objects.create(username=f"guest-{acme.tenant.slug}")
    if ending == "revoked":
        for _ in range(2):
            assert program(acme.owner).call("DELETE", f"{INVITATIONS}/{made['id']}").status_code == 204
    elif ending == "expired":
        with tenant_scope(acme.tenant.id):
            Invitation.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    elif ending == "tenant off":
        Tenant.objects.filter(id=acme.tenant.id).update(suspended_at=datetime.now(UTC))
    elif ending == "user off":
        User.objects.filter(id=guest.id).update(is_active=False)
    else:
        token += "x"
    with pytest.raises(SomaError) as refused:
        invitations.invitation_accept(digest=key_digest(token), user_id=guest.id)
    assert refused.value.code == "not_found"
    assert guest.id not in roles(acme)


def test_who_may_invite_whom_until_when(acme):
    member, admin = person("member", acme.tenant), person("admin", acme.tenant, Role.ADMIN)
    assert refusal(program(member).call("POST", INVITATIONS, {}), 403) == "role_forbidden"
    assert refusal(program(member).call("GET", INVITATIONS), 403) == "role_forbidden"
    assert refusal(program(admin).call("POST", INVITATIONS, {"role": "owner"}), 403) == "role_forbidden"
    assert program(acme.owner).made(INVITATIONS, {"role": "owner"})["role"] == "owner"
    for expires_at in (later(hours=-1), later(days=31)):
        refused = program(admin).call("POST", INVITATIONS, {"expires_at": expires_at})
        assert refusal(refused, 422) == "invalid"


def test_an_invitation_is_made_once_and_not_spent_on_a_member(acme):
    member = person("member", acme.tenant)
    first, again = (
        program(acme.owner).call("POST", INVITATIONS, {}, idempotency_key="a").json() for _ in range(2)
    )
    assert first["id"] == again["id"]
    assert again["token"] is None
    refused = program(member).call("POST", ACCEPT, {"token": first["token"]})
    assert refusal(refused, 409) == "already_member"
    guest = User.objects.create(username=f"guest-{acme.tenant.slug}")
    assert (
        invitations.invitation_accept(digest=key_digest(first["token"]), user_id=guest.id).membership.user_id
        == guest.id
    )


def test_a_token_is_accepted_by_one_of_two_who_show_it_at_once(acme):
    token = program(acme.owner).made(INVITATIONS, {})["token"]
    guests = [User.objects.create(username=f"guest-{n}-{acme.tenant.slug}").id for n in range(2)]

    def accept(user_id: UUID) -> str:
        try:
            invitations.invitation_accept(digest=key_digest(token), user_id=user_id)
        except SomaError as error:
            return error.code
        finally:
            connection.close()
        return "accepted"

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(accept, guests)) == ["accepted", "not_found"]
    assert len(roles(acme)) == 2


def test_a_key_says_which_it_is(acme):
    key, text = services.api_key_create(tenant_id=acme.tenant.id, user_id=acme.owner.user_id, name="which")
    actor = actor_by_api_key(text)
    assert actor is not None
    assert actor.key_id == key.id
