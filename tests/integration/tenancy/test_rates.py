"""How many requests an API key, and a whole tenant, may send in a minute."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import IntegrityError, transaction
from django.test import AsyncClient, Client

from somaagent import valkey
from somaagent.errors import SomaError
from somaagent.tenancy.models import ApiKey, Tenant
from somaagent.tenancy.rates import admit
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, key_of, keyed, operator_client, organisation, person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


def got(key: str, path: str = "/api/v1/agents") -> Any:
    """In the lane of threads."""
    headers = {"host": settings.ALLOWED_HOSTS[0], "authorization": f"Bearer {key}"}
    return Client(headers=headers).get(path)


def test_a_key_that_asks_too_often_is_told_when_to_come_back_and_others_are_not(acme):
    busy, other = key_of(acme.owner, requests_per_minute=3), key_of(acme.owner)
    assert [got(busy).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = got(busy)
    assert refused.json()["code"] == "rate_limited"
    assert refused["Content-Type"] == "application/problem+json"
    assert 0 < int(refused["Retry-After"]) <= 61
    assert got(other).status_code == 200


def test_clients_of_openai_s_api_get_its_own_shape(acme):
    key = key_of(acme.owner, requests_per_minute=1)
    assert got(key, "/v1/models").status_code == 200
    refused = got(key, "/v1/models")
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert int(refused["Retry-After"]) > 0


def test_a_tenant_s_users_and_keys_count_together_and_nobody_else_s(acme):
    Tenant.objects.filter(id=acme.tenant.id).update(requests_per_minute=2)
    keys = [key_of(person("member", acme.tenant)) for _ in range(2)]
    assert [got(key).status_code for key in (*keys, *keys)] == [200, 200, 429, 429]
    browser = operator_client(acme.owner)
    page = browser.get("/")
    assert (page.status_code, "Try again in" in page.content.decode()) == (429, True)
    assert int(page["Retry-After"]) > 0
    assert got(key_of(organisation("other").owner)).status_code == 200


def test_the_event_loop_s_lane_counts_the_same(acme):
    key = key_of(acme.owner, requests_per_minute=2)
    headers = {"authorization": f"Bearer {key}"}

    async def asked() -> list[int]:
        client = AsyncClient()
        return [(await client.get("/api/v1/turns", headers=headers)).status_code for _ in range(3)]

    assert async_to_sync(asked)() == [200, 200, 429]
    assert got(key).status_code == 429


def test_a_key_without_a_limit_asks_nothing_of_valkey(acme):
    actor = keyed(acme.owner)
    assert (actor.key_rate, actor.tenant_rate) == (None, None)
    before = valkey.blocking_client().dbsize()
    async_to_sync(admit)(actor)
    assert valkey.blocking_client().dbsize() == before


def test_what_is_no_http_request_is_counted_by_the_same_call(acme):
    actor = keyed(acme.owner, requests_per_minute=1)

    async def twice() -> None:
        await admit(actor)
        await admit(actor)

    with pytest.raises(SomaError) as raised:
        async_to_sync(twice)()
    assert raised.value.code == "rate_limited"


def test_a_limit_of_nothing_is_no_limit_that_can_be_set(acme):
    key_of(acme.owner)
    with pytest.raises(IntegrityError), tenant_scope(acme.tenant.id):
        ApiKey.objects.update(requests_per_minute=0)
    with pytest.raises(IntegrityError), transaction.atomic():
        Tenant.objects.filter(id=acme.tenant.id).update(requests_per_minute=0)


def test_an_operator_limits_a_key_in_its_form(acme):
    key = key_of(acme.owner)
    browser = operator_client(acme.owner)
    with tenant_scope(acme.tenant.id):
        row = ApiKey.objects.get()
    page = f"/admin/tenancy/apikey/{row.id}/change/"
    assert browser.post(page, {"name": "bot", "requests_per_minute": "1"}).status_code == 302
    assert [got(key).status_code for _ in range(2)] == [200, 429]
