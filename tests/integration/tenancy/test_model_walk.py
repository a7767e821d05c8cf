"""Every table: it is a tenant's and the database keeps it apart, or it is said why it is not.

A model that is added is walked by itself. Where its rows have needs that its columns do not tell, they are
said in ``rows.FACTS``; a table without a tenant is named here, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import ProgrammingError, connection, models, transaction
from psycopg.sql import SQL, Identifier

from somaagent.tenancy.rls import TENANT_SETTING
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import Statement, inserted
from tests.factories import Organisation, organisation
from tests.integration.tenancy.rows import Rows, id_of, insert, our_models, owned_models, tables_with_tenant

pytestmark = pytest.mark.django_db

OF_NO_TENANT = {
    "tenancy_tenant": "It is the tenants themselves: a credential is looked up before there is a tenant.",
    "tenancy_user": "A person may be a member of several tenants; what they own there has a tenant.",
    "tenancy_user_groups": "Django's, of users; roles are memberships, and nothing is written to it.",
    "tenancy_user_user_permissions": "Django's, of users; nothing is written to it.",
}
APPEND_ONLY = "permission denied"
# By the policy; or, where the database alone writes, by the rights of the role.
REFUSED = f"row-level security|{APPEND_ONLY}"
OWNED = pytest.mark.parametrize("model", owned_models(), ids=lambda model: model._meta.label)


def rows(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def changed(sql: str, *parameters: Any) -> int:
    """How many rows a statement changed; none where the table is only added to."""
    with connection.cursor() as cursor:
        try:
            with transaction.atomic():
                cursor.execute(sql, parameters)
        except ProgrammingError as error:
            if APPEND_ONLY not in str(error):
                raise
            return 0
        return int(cursor.rowcount)


def kept(model: type[models.Model], of: Organisation) -> models.Model:
    """A row of the organisation's, in the database."""
    with tenant_scope(of.tenant.id):
        row: models.Model = Rows(of).kept(model)
        return row


def about(model: type[models.Model], text: str) -> str:
    """SQL about ``{table}``, the model's."""
    return SQL(text).format(table=Identifier(model._meta.db_table)).as_string()


def untouched(model: type[models.Model], row: models.Model, of: Organisation) -> Callable[[], None]:
    """Checks that the row is as it was."""
    whole = about(model, "SELECT * FROM {table} WHERE id = %s")
    with tenant_scope(of.tenant.id):
        before = rows(whole, id_of(row))
    assert len(before) == 1

    def check() -> None:
        with tenant_scope(of.tenant.id):
            assert rows(whole, id_of(row)) == before

    return check


def test_each_table_of_ours_is_a_tenant_s_or_has_a_reason():
    tables = {model._meta.db_table for model in our_models()}
    owned = {model._meta.db_table for model in owned_models()}
    assert tables - owned == set(OF_NO_TENANT)
    # Also what has no model, and what a library brings: a column of that name is a promise.
    assert tables_with_tenant() == owned


@OWNED
def test_its_policy_lets_each_tenant_to_its_own_rows_alone(model):
    table = model._meta.db_table
    ((enabled, owner),) = rows(
        "SELECT relrowsecurity, pg_get_userbyid(relowner) = current_user "
        "FROM pg_class WHERE oid = %s::regclass",
        f'"{table}"',
    )
    # The owner is not bound by a policy that is not forced: migrations are its only user.
    assert (enabled, owner) == (True, False)
    policies = rows(
        "SELECT policyname, permissive, roles::text[], cmd, qual = with_check, qual FROM pg_policies "
        "WHERE schemaname = 'public' AND tablename = %s",
        table,
    )
    [(name, permissive, roles, command, alike, condition)] = policies
    assert (name, permissive, roles, command, alike) == (
        "tenant_isolation", "PERMISSIVE", ["public"], "ALL", True,
    )  # fmt: skip
    assert condition.startswith("(tenant_id = ")
    assert f"current_setting('{TENANT_SETTING}'" in condition
    # No policy stands before this one.
    assert rows("SELECT has_table_privilege(current_user, %s, 'TRUNCATE')", f'"{table}"') == [(False,)]


@OWNED
def test_without_a_tenant_nothing_is_seen_or_written(model):
    acme = organisation("acme")
    row = kept(model, acme)
    check = untouched(model, row, acme)
    assert rows(about(model, "SELECT count(*) FROM {table}")) == [(0,)]
    assert changed(about(model, "UPDATE {table} SET tenant_id = tenant_id")) == 0
    assert changed(about(model, "DELETE FROM {table}")) == 0
    with pytest.raises(ProgrammingError, match=REFUSED), transaction.atomic():
        insert(new(model, acme))
    check()


@OWNED
def test_another_tenant_s_rows_are_not_seen_changed_taken_or_given(model):
    acme, other = organisation("acme"), organisation("other")
    row = kept(model, acme)
    check = untouched(model, row, acme)
    with tenant_scope(other.tenant.id):
        assert rows(about(model, "SELECT 1 FROM {table} WHERE id = %s"), id_of(row)) == []
        others = about(model, "SELECT count(*) FROM {table} WHERE tenant_id <> %s")
        assert rows(others, other.tenant.id) == [(0,)]
        take = about(model, "UPDATE {table} SET tenant_id = %s WHERE id = %s")
        assert changed(take, other.tenant.id, id_of(row)) == 0
        assert changed(about(model, "DELETE FROM {table} WHERE id = %s"), id_of(row)) == 0
    given = new(model, acme)
    with pytest.raises(ProgrammingError, match=REFUSED), tenant_scope(other.tenant.id):
        insert(given)
    check()


def new(model: type[models.Model], of: Organisation) -> Statement:
    """What inserts a row of the organisation's."""
    with tenant_scope(of.tenant.id):
        return inserted(Rows(of).new(model))
