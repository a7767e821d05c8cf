"""Tenants are kept apart by the database, whatever the code above it does."""

from __future__ import annotations

import asyncio

import pytest
from django.apps import apps
from django.db import ProgrammingError, connection, transaction

from apps.sessions import services as sessions
from apps.sessions.models import Session
from somaagent.tenancy.fields import TenantOwned
from somaagent.tenancy.models import ApiKey, Membership
from somaagent.tenancy.scope import in_database, in_tenant, tenant_scope
from tests.factories import organisation

pytestmark = pytest.mark.django_db


def rows(sql: str, *parameters: str) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def tenant_owned_tables() -> set[str]:
    return {model._meta.db_table for model in apps.get_models() if issubclass(model, TenantOwned)}


def test_every_table_with_a_tenant_column_is_declared_tenant_owned():
    with_column = rows(
        "SELECT table_name FROM information_schema.columns "
        "WHERE column_name = 'tenant_id' AND table_schema = 'public'"
    )
    assert {name for (name,) in with_column} == tenant_owned_tables()


def test_the_application_owns_nothing_and_is_bound_by_the_policies():
    ((superuser, bypasses),) = rows(
        "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    )
    assert (superuser, bypasses) == (False, False)
    assert rows("SELECT relname FROM pg_class WHERE pg_get_userbyid(relowner) = current_user") == []


def test_an_outsider_sees_nothing_by_raw_sql_either():
    acme, other = organisation("acme"), organisation("other")
    with tenant_scope(acme.tenant.id):
        session = sessions.session_create(actor=acme.owner)
    with tenant_scope(other.tenant.id):
        assert rows("SELECT id FROM agent_sessions_session WHERE id = %s", str(session.id)) == []
        assert not Session.objects.filter(id=session.id).update(title="taken")
        assert Membership.objects.filter(tenant_id=acme.tenant.id).count() == 0
    with tenant_scope(acme.tenant.id):
        assert Session.objects.get(id=session.id).title == ""


def test_without_a_tenant_nothing_is_seen_and_nothing_written():
    acme = organisation("acme")
    assert ApiKey.objects.count() == Membership.objects.count() == 0
    with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
        Membership.objects.create(tenant=acme.tenant, user_id=acme.owner.user_id)


def test_a_row_cannot_be_given_to_another_tenant():
    acme, other = organisation("acme"), organisation("other")
    with tenant_scope(acme.tenant.id):
        session = sessions.session_create(actor=acme.owner)
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            Session.objects.filter(id=session.id).update(tenant_id=other.tenant.id)


def test_a_nested_scope_gives_the_outer_tenant_back():
    acme, other = organisation("acme"), organisation("other")
    with tenant_scope(acme.tenant.id):
        with tenant_scope(other.tenant.id):
            assert Membership.objects.get().tenant_id == other.tenant.id
        assert Membership.objects.get().tenant_id == acme.tenant.id
        with pytest.raises(RuntimeError, match="by hand"), tenant_scope(other.tenant.id):
            raise RuntimeError("by hand")
        assert Membership.objects.get().tenant_id == acme.tenant.id


@pytest.mark.django_db(transaction=True)
async def test_a_pooled_connection_carries_no_tenant_over():
    acme = await in_database(organisation, "acme")
    seen = await asyncio.gather(*(in_tenant(acme.tenant.id, Membership.objects.count) for _ in range(16)))
    assert seen == [1] * 16
    unscoped = await asyncio.gather(*(in_database(Membership.objects.count) for _ in range(16)))
    assert unscoped == [0] * 16


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ending", ["an exception", "a failed statement", "a cancellation"])
async def test_nor_does_the_orm_s_after(ending):
    acme = await in_database(organisation, "acme")

    def fail() -> int:
        assert Membership.objects.count() == 1
        if ending == "an exception":
            raise RuntimeError(ending)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0" if ending == "a failed statement" else "SELECT pg_sleep(0.2)")
        return backend()

    used = await asyncio.gather(*(in_tenant(acme.tenant.id, backend) for _ in range(16)))
    tasks = [asyncio.create_task(in_tenant(acme.tenant.id, fail)) for _ in range(16)]
    if ending == "a cancellation":
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(error, BaseException) for error in told)
    after = await asyncio.gather(*(in_database(lambda: (backend(), memberships())) for _ in range(16)))
    assert {seen for _, seen in after} == {0}
    # They are the same connections as before: what is kept is not made anew to be clean.
    assert {pid for pid, _ in after} & set(used)


def backend() -> int:
    return int(rows("SELECT pg_backend_pid()")[0][0])


def memberships() -> int:
    return int(rows("SELECT count(*) FROM tenancy_membership")[0][0])
