"""A tenant with something in every table moves, and every row of it is there, column by column."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings

from apps.admin.portable import tables
from apps.admin.portable.sealed import PURPOSES, SHORT_LIVED
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, organisation
from tests.integration.portable.test_moving import elsewhere, manage, tenant  # noqa: F401 a fixture
from tests.integration.tenancy.rows import FACTS as ROWS
from tests.integration.tenancy.rows import Rows, tables_with_tenant
from tests.stack import RunningStack

pytestmark = pytest.mark.django_db(transaction=True)

# What a row may not be on its way: a turn that runs keeps its tenant where it is, and a secret of a row's
# own excludes the name of one in Vault.
FACTS: dict[str, dict[str, Any]] = {
    "chat.Turn": {"state": "completed"},
    "chat.Schedule": {"enabled": True},
    "chat.WebhookDelivery": {"state": "delivered", "next_attempt_at": None},
    "agent_sessions.ModelProfile": {"secret_name": ""},
    "tools.McpServer": {"secret_name": ""},
}


@pytest.fixture
def acme() -> Organisation:
    """With a row in every table, whose columns all hold something, and a secret wherever one can be."""
    made = organisation("acme")
    rows = Rows(made, full=True, facts=facts())
    with tenant_scope(made.tenant.id):
        for model in tables.owned():
            row = rows.kept(model)
            for (table, column), purpose in PURPOSES.items():
                if table == tables.table_of(model):
                    sealed = settings.SECRETS.encrypt(
                        text_of(table, column), tenant_id=made.tenant.id, purpose=purpose, row_id=row.pk
                    )
                    model._default_manager.filter(pk=row.pk).update(**{column: sealed})
    return made


def facts() -> dict[str, dict[str, Any]]:
    """With nothing where secrets stand: what stands there has to be one."""
    found = {label: dict(given) for label, given in (ROWS | FACTS).items()}
    labels = {tables.table_of(model): model._meta.label for model in tables.owned()}
    for table, column in PURPOSES:
        found.setdefault(labels[table], {})[column] = ""
    for (table, column), value in SHORT_LIVED.items():
        found.setdefault(labels[table], {})[column] = value
    return found


def text_of(table: str, column: str) -> str:
    return f"the secret of {table} {column}"


def rows_of(stack: RunningStack, table: str, tenant_id: UUID) -> dict[str, dict[str, Any]]:
    """What PostgreSQL's superuser sees of a tenant's rows, by id: not by the way that an export takes."""
    query = f'SELECT row_to_json(found)::text FROM "{table}" found WHERE tenant_id = %s'  # noqa: S608 names of ours
    with stack.superuser() as superuser:
        lines = superuser.execute(query, [tenant_id]).fetchall()
    found = [json.loads(line, parse_float=Decimal) for (line,) in lines]
    return {row["id"]: row for row in found}


def test_every_table_is_at_home_elsewhere(acme, stack, elsewhere, tmp_path):  # noqa: F811 the fixture
    mine = acme.tenant.id
    moving, staying = tables.moving(), tables.STAYING
    names = [tables.table_of(model) for model in moving]
    # Whoever adds a table says whether it moves; one that no model knows would stay behind unseen.
    assert {*names, *map(tables.table_of, staying)} == tables_with_tenant()
    before = {name: rows_of(stack, name, mine) for name in names}
    assert [name for name in names if not before[name]] == []

    archive, key = tmp_path / "acme.zip", tmp_path / "acme.key"
    tenant("export", acme.tenant.slug, archive, "--secrets-key", key)
    arrived = manage(elsewhere, "tenant", "import", archive, "--secrets-key", key)
    assert arrived.returncode == 0, arrived.stderr

    for name in names:
        assert compared(name, rows_of(elsewhere, name, mine)) == compared(name, before[name]), name
    entries = len(before["tenancy_auditentry"])
    whole = manage(elsewhere, "audit_verify", "--tenant", acme.tenant.slug)
    assert f"{acme.tenant.slug}: {entries + 1} entries, whole." in whole.stdout, whole.stderr
    for model in staying:
        if tables.table_of(model) != "tenancy_audithead":
            told = rows_of(elsewhere, tables.table_of(model), mine).values()
            # Its own events begin with its arrival.
            assert {row.get("type", "") for row in told} <= {"audit.recorded"}
    assert secrets_opened(elsewhere, mine) == {
        f"{table} {column}": text_of(table, column) for table, column in PURPOSES
    }


def compared(table: str, rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows without what is another there: seals, what lives for hours, and the entry of the arrival."""
    gone = {column for known, column in (*PURPOSES, *SHORT_LIVED) if known == table}
    return {
        found: {column: value for column, value in row.items() if column not in gone}
        for found, row in rows.items()
        if row.get("action") != "tenant.imported"
    }


def secrets_opened(where: RunningStack, tenant_id: UUID) -> dict[str, str]:
    """Every secret that somebody can open there, by table and column."""
    opened = manage(where, "shell", "-c", _OPEN.format(tenant=tenant_id))
    assert opened.returncode == 0, opened.stderr
    found: dict[str, str] = json.loads(opened.stdout.splitlines()[-1])
    return found


_OPEN = """
import json
from django.conf import settings
from apps.admin.portable import tables
from apps.admin.portable.sealed import PURPOSES
from somaagent.tenancy.scope import tenant_scope
found = {{}}
with tenant_scope("{tenant}"):
    for (table, column), purpose in PURPOSES.items():
        (model,) = (one for one in tables.owned() if tables.table_of(one) == table)
        for row in model._default_manager.exclude(**{{column: ""}}):
            text = settings.SECRETS.decrypt(
                getattr(row, column), tenant_id=row.tenant_id, purpose=purpose, row_id=row.pk
            )
            found[f"{{table}} {{column}}"] = text
print(json.dumps(found))
"""
