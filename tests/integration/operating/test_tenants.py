"""Operators make tenants, shut them, and open them again, over the API."""

from __future__ import annotations

import functools

import pytest
from django.db import connection

from somaagent.tenancy import tenants
from somaagent.tenancy.models import Role, Tenant
from somaagent.tenancy.operators import Operator
from somaagent.tenancy.scope import tenant_scope
from tests.factories import at_once, key_of, operator_client, organisation, person, user_of
from tests.integration.tenancy.town import Program

from .conftest import EVERYTHING, refusal, told

pytestmark = pytest.mark.django_db(transaction=True)
TENANTS = "/api/v1/admin/tenants"


def of(tenant: Tenant, rest: str = "") -> str:
    return f"{TENANTS}/{tenant.id}{rest}"


def wanted(acme, **facts):
    """A body with a slug that nobody has."""
    return {"slug": f"new-{acme.tenant.slug}", "name": "New"} | facts


def test_an_operator_makes_a_tenant_and_its_first_owner_comes_in(operator, acme):
    body = wanted(acme, requests_per_minute=600, first_owner={"name": "Ada"})
    made = operator.program.made(TENANTS, body)
    assert (made["members"], made["owners"], made["requests_per_minute"]) == (0, 0, 600)
    assert made["invitation"]["name"] == "Ada"
    ada = person("ada", acme.tenant)
    accepted = Program(key_of(ada)).call(
        "POST", "/api/v1/invitations/accept", {"token": made["invitation"]["token"]}
    )
    assert accepted.json()["role"] == "owner"
    assert accepted.json()["tenant_id"] == made["id"]
    found = operator.program.call("GET", f"{TENANTS}/{made['id']}").json()
    assert (found["members"], found["owners"]) == (1, 1)
    tenant = Tenant.objects.get(id=made["id"])
    (entry,) = told(tenant, "tenant.created")
    assert (entry.user_id, entry.facts["as_operator"]) == (operator.actor.user_id, True)
    assert made["invitation"]["token"] not in entry.facts_text
    # From now on who is in it is for its owners to say.
    again = operator.program.call("POST", of(tenant, "/owner-invitations"), {})
    assert refusal(again, 409) == "owner_there"


def test_sent_twice_it_is_made_once_and_its_token_is_shown_once(operator, acme):
    body = wanted(acme)
    first, again = (
        operator.program.call("POST", TENANTS, body, idempotency_key=acme.tenant.slug) for _ in range(2)
    )
    assert first.json()["invitation"]["token"].startswith("inv_")
    assert again.json()["invitation"]["token"] is None
    assert again.json()["id"] == first.json()["id"]
    other = operator.program.call("POST", TENANTS, body | {"name": "Other"}, idempotency_key=acme.tenant.slug)
    assert refusal(other, 422) == "idempotency_key_reused"
    assert refusal(operator.program.call("POST", TENANTS, body), 409) == "slug_taken"


def test_where_the_only_owner_is_shut_out_another_is_invited(operator, acme):
    """Whoever's account was taken over is shut out at once, though nobody else owns the tenant."""
    suspend = f"/api/v1/admin/users/{acme.owner.user_id}/suspend"
    assert operator.program.call("POST", suspend).status_code == 200
    invited = operator.program.call("POST", of(acme.tenant, "/owner-invitations"), {"name": "Ada"})
    assert invited.status_code == 201, invited.content
    ada = Program(key_of(person("ada", organisation("elsewhere").tenant)))
    accepted = ada.call("POST", "/api/v1/invitations/accept", {"token": invited.json()["token"]})
    assert accepted.json()["role"] == "owner"


def test_a_token_that_was_lost_is_replaced(operator, acme):
    made = operator.program.made(TENANTS, wanted(acme))
    where = f"{TENANTS}/{made['id']}/owner-invitations"
    second = operator.program.call("POST", where, {"name": "Ada"}, idempotency_key="a").json()
    assert operator.program.call("POST", where, {"name": "Ada"}, idempotency_key="a").json()["token"] is None
    ada = Program(key_of(person("ada", acme.tenant)))
    lost = ada.call("POST", "/api/v1/invitations/accept", {"token": made["invitation"]["token"]})
    assert refusal(lost, 404) == "not_found"
    assert ada.made("/api/v1/invitations/accept", {"token": second["token"]})["role"] == "owner"


def test_one_without_an_invitation_is_empty(operator, acme):
    made = operator.program.made(TENANTS, wanted(acme, first_owner=None))
    assert made["invitation"] is None


def test_where_there_is_room_for_one_tenant_no_second_is_made(operator, acme, settings):
    settings.MANY_TENANTS = False
    refused = operator.program.call("POST", TENANTS, wanted(acme))
    assert refusal(refused, 409) == "one_tenant_only"
    assert operator.program.call("GET", f"{TENANTS}?search=new-{acme.tenant.slug}").json()["items"] == []


@pytest.mark.parametrize(
    "facts",
    [{"slug": "Ümlaut"}, {"slug": ""}, {"name": " "}, {"requests_per_minute": 0}, {"requests_per_minute": -1},
     {"requests_per_minute": 10**9}, {"first_owner": {"expires_at": "2020-01-01T00:00:00Z"}}, {"id": "1"}],
)  # fmt: skip
def test_what_is_absurd_is_refused_and_nothing_made(operator, acme, facts):
    before = Tenant.objects.count()
    assert operator.program.call("POST", TENANTS, wanted(acme, **facts)).status_code == 422
    assert Tenant.objects.count() == before


def test_tenants_are_listed_searched_and_paged(operator, acme):
    for number in range(3):
        operator.program.made(
            TENANTS, {"slug": f"{acme.tenant.slug}-p{number}", "name": f"Paged {acme.tenant.slug}"}
        )
    query = f"{TENANTS}?search={acme.tenant.slug}-p&limit=2"
    first = operator.program.call("GET", query).json()
    second = operator.program.call("GET", f"{query}&cursor={first['next']}").json()
    assert [each["slug"][-2:] for each in first["items"] + second["items"]] == ["p2", "p1", "p0"]
    assert second["next"] is None
    one = operator.program.call("GET", f"{TENANTS}?search={acme.tenant.slug}&state=live").json()["items"][-1]
    assert (one["id"], one["members"], one["owners"]) == (str(acme.tenant.id), 1, 1)
    suspended = operator.program.call("GET", f"{TENANTS}?search={acme.tenant.slug}&state=suspended").json()
    assert suspended["items"] == []


def test_name_and_limit_are_changed_and_what_is_left_out_stays(operator, acme):
    changed = operator.program.call("PATCH", of(acme.tenant), {"requests_per_minute": 100}).json()
    assert (changed["name"], changed["requests_per_minute"]) == (acme.tenant.name, 100)
    changed = operator.program.call(
        "PATCH", of(acme.tenant), {"name": "Acme & Co", "requests_per_minute": None}
    )
    assert (changed.json()["name"], changed.json()["requests_per_minute"]) == ("Acme & Co", None)
    assert operator.program.call("PATCH", of(acme.tenant), {"name": None}).status_code == 422
    assert operator.program.call("PATCH", of(acme.tenant), {"slug": "other"}).status_code == 422
    assert operator.program.call("PATCH", of(acme.tenant), {}).status_code == 200
    first, second = told(acme.tenant, "tenant.changed")
    assert first.facts["values"] == {"requests_per_minute": {"from": None, "to": 100}}
    assert second.facts["values"]["name"] == {"from": "Acme", "to": "Acme & Co"}


def test_a_suspended_tenant_s_people_and_keys_are_shut_out_until_it_is_resumed(operator, acme):
    member, elsewhere = person("member", acme.tenant), organisation("elsewhere")
    key = Program(key_of(member))
    assert key.call("GET", "/api/v1/sessions").status_code == 200
    suspended = operator.program.call("POST", of(acme.tenant, "/suspend"))
    assert suspended.json()["suspended_at"] is not None
    again = operator.program.call("POST", of(acme.tenant, "/suspend"))
    assert again.json()["suspended_at"] == suspended.json()["suspended_at"]
    assert refusal(key.call("GET", "/api/v1/sessions"), 401) == "credential_refused"
    assert Program(key_of(elsewhere.owner)).call("GET", "/api/v1/sessions").status_code == 200
    assert operator.program.call("POST", of(acme.tenant, "/resume")).json()["suspended_at"] is None
    assert key.call("GET", "/api/v1/sessions").status_code == 200
    assert len(told(acme.tenant, "tenant.suspended")) == len(told(acme.tenant, "tenant.resumed")) == 1
    (entry,) = told(acme.tenant, "tenant.suspended")
    assert (entry.user_id, entry.via) == (operator.actor.user_id, "api_key")


def test_an_operator_cannot_shut_themself_out(operator):
    refused = operator.program.call("POST", of(operator.home.tenant, "/suspend"))
    assert refusal(refused, 409) == "own_tenant"
    assert operator.program.call("GET", TENANTS).status_code == 200
    assert told(operator.home.tenant, "tenant.suspended") == []


def test_nor_two_operators_each_other(operator):
    other = organisation("platform")
    operator_client(other.owner)
    pair = [(operator.home, other.tenant), (other, operator.home.tenant)]

    def suspend(who, whom):
        by = Operator(user_of(who.owner), "api_key", who.tenant.id)
        tenants.tenant_suspend(operator=by, tenant_id=whom.id)

    outcomes = at_once(*(functools.partial(suspend, who, whom) for who, whom in pair))
    assert sorted(outcomes) == ["done", "suspended_meanwhile"]


def test_it_takes_the_scope_and_an_operator(operator, acme):
    plain = Program(key_of(operator.actor))
    assert refusal(plain.call("GET", TENANTS), 403) == "scope_missing"
    owner = Program(key_of(acme.owner, scopes=EVERYTHING))
    for method, path, body in (
        ("GET", TENANTS, None),
        ("POST", TENANTS, wanted(acme)),
        ("POST", of(acme.tenant, "/suspend"), None),
    ):
        assert refusal(owner.call(method, path, body), 403) == "operator_only"


def test_an_operator_is_told_how_many_belong_to_a_tenant_and_reads_nothing_of_it(operator, acme):
    person("admin", acme.tenant, Role.ADMIN)
    found = operator.program.call("GET", of(acme.tenant)).json()
    assert (found["members"], found["owners"]) == (2, 1)
    members = operator.program.call("GET", "/api/v1/members").json()["items"]
    assert {each["user_id"] for each in members} == {str(operator.actor.user_id)}
    with tenant_scope(operator.home.tenant.id), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM tenancy_membership WHERE tenant_id = %s", [acme.tenant.id])
        assert cursor.fetchone() == (0,)
