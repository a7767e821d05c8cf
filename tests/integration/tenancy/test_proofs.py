"""Whose a key is travels with what its holder asks for: nothing is shown or kept that it may not have now."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import override_settings
from django.utils import timezone
from prometheus_client import REGISTRY

import somaagent.celery  # noqa: F401 messages are sent to this application's broker
from apps.chat.models import Turn
from somaagent.tenancy import pool, services
from somaagent.tenancy.models import ApiKey, Membership, Tenant, User
from somaagent.tenancy.scope import in_database, tenant_scope
from somaagent.web import lanes
from tests.factories import Organisation, key_of, organisation
from tests.integration.web.talking import Answer, Client

pytestmark = pytest.mark.django_db(transaction=True)


class Program(Client):
    """Somebody with a key, at the gateway's own door."""

    def __init__(self, key: str) -> None:
        super().__init__(lanes.Gateway())
        self.key = key

    async def get(self, path: str) -> Answer:
        return await self.ask(f"/api/v1{path}", authorization=f"Bearer {self.key}")

    async def post(self, path: str, body: Any) -> Answer:
        pieces = (json.dumps(body).encode(),)
        return await self.ask(
            f"/api/v1{path}",
            "POST",
            pieces,
            authorization=f"Bearer {self.key}",
            content_type="application/json",
        )

    async def told(self) -> Answer:
        """What the key's holder is told twice: the second time, whose key it is travels with the question."""
        assert (await self.get("/sessions")).status == 200
        return await self.get("/sessions")


@pytest.fixture(autouse=True)
async def gateway() -> AsyncIterator[None]:
    with override_settings(ALLOWED_HOSTS=["testserver"]):
        yield
    await pool.close()


@pytest.fixture
async def acme() -> Organisation:
    return await in_database(organisation)


@pytest.fixture
async def owner(acme: Organisation) -> Program:
    return Program(await in_database(key_of, acme.owner))


def turns(tenant_id: UUID) -> int:
    with tenant_scope(tenant_id):
        return Turn.objects.count()


def end(acme: Organisation, how: str) -> None:
    with tenant_scope(acme.tenant.id):
        if how == "revoked":
            services.api_key_revoke(actor=acme.owner, key_id=ApiKey.objects.get().id)
        elif how == "expired":
            ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        elif how == "user off":
            User.objects.filter(id=acme.owner.user_id).update(is_active=False)
        elif how == "tenant off":
            Tenant.objects.filter(id=acme.tenant.id).update(suspended_at=timezone.now())
        else:
            Membership.objects.filter(user_id=acme.owner.user_id).delete()


@pytest.mark.parametrize("how", ["revoked", "expired", "user off", "tenant off", "no membership"])
async def test_a_key_that_has_just_ended_shows_and_does_nothing(acme: Organisation, owner: Program, how: str):
    assert (await owner.told()).status == 200
    await in_database(end, acme, how)
    for answer in (await owner.get("/sessions"), await owner.post("/turns", {"input": "Hello"})):
        assert (answer.status, answer.facts["code"]) == (401, "credential_refused")
    assert await in_database(turns, acme.tenant.id) == 0


async def test_nothing_is_kept_for_a_key_that_ends_before_it_asks_for_a_turn(
    acme: Organisation, owner: Program
):
    await owner.told()
    await in_database(end, acme, "revoked")
    answer = await owner.post("/turns", {"input": "Hello", "background": True})
    assert (answer.status, answer.facts["code"]) == (401, "credential_refused")
    assert await in_database(turns, acme.tenant.id) == 0


async def test_a_role_that_has_just_changed_counts_at_the_next_request(acme: Organisation, owner: Program):
    await owner.told()

    def demote() -> None:
        with tenant_scope(acme.tenant.id):
            Membership.objects.filter(user_id=acme.owner.user_id).update(role="viewer")

    await in_database(demote)
    answer = await owner.post("/turns", {"input": "Hello", "background": True})
    assert (answer.status, answer.facts["code"]) == (403, "scope_missing")
    assert await in_database(turns, acme.tenant.id) == 0
    assert (await owner.get("/sessions")).status == 200


async def test_a_rate_that_was_just_set_is_counted(acme: Organisation, owner: Program):
    await owner.told()

    def limit() -> None:
        with tenant_scope(acme.tenant.id):
            ApiKey.objects.update(requests_per_minute=1)

    await in_database(limit)
    assert (await owner.get("/sessions")).status == 200
    refused = await owner.get("/sessions")
    assert (refused.status, refused.facts["code"]) == (429, "rate_limited")


async def test_what_is_wrong_with_a_request_is_said_as_ever(acme: Organisation, owner: Program):
    await owner.told()
    empty = await owner.post("/turns", {"input": " "})
    assert (empty.status, empty.facts["code"]) == (422, "invalid")
    missing = await owner.get(f"/sessions/{acme.tenant.id}")
    assert (missing.status, missing.facts["code"]) == (404, "not_found")


async def test_whose_key_it_is_needs_no_question_of_its_own(acme: Organisation, owner: Program):
    """Each of these is answered at the first attempt, where the key is known."""
    await owner.told()
    session = (await owner.post("/sessions", {})).facts["id"]
    turn = (await owner.post("/turns", {"input": "Hello", "background": True})).facts["id"]
    before = answered()
    paths = ["/sessions", f"/sessions/{session}", f"/sessions/{session}/messages", "/turns", f"/turns/{turn}"]
    assert [(await owner.get(path)).status for path in paths] == [200] * len(paths)
    assert answered() == before + len(paths)


def answered() -> float:
    """Answers that passed the whole chain, as often as they did."""
    name = "django_http_responses_total_by_status_view_method_total"
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples if sample.name == name]
    return sum(sample.value for sample in samples if sample.labels["method"] == "GET")
