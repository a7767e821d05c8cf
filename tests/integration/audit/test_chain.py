"""The audit's chain: what is in it, who may write it, and what is noticed."""

from __future__ import annotations

import io
import threading

import pytest
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection, transaction

from somaagent.tenancy import keys, services
from somaagent.tenancy.audit.chain import verified
from somaagent.tenancy.audit.entries import BY_COMMAND, audit_entry_create, entry, who
from somaagent.tenancy.audit.models import AuditEntry, AuditHead
from somaagent.tenancy.models import ApiKey
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import perform
from tests.factories import key_of, organisation

pytestmark = pytest.mark.django_db(transaction=True)
WRITERS, EACH = 8, 5


def entries(tenant):
    with tenant_scope(tenant.id):
        return list(AuditEntry.objects.order_by("number"))


def told(tenant, *names, by=BY_COMMAND):
    with tenant_scope(tenant.id):
        for name in names:
            audit_entry_create(by=by, action=f"thing.{name}", target_type="thing", facts={"name": name})


def verify(*arguments):
    out = io.StringIO()
    call_command("audit_verify", *arguments, stdout=out)
    return out.getvalue()


def broken(tenant, *arguments):
    """What the command says of a tenant whose chain does not fit."""
    out = io.StringIO()
    with pytest.raises(CommandError) as raised:
        call_command("audit_verify", "--tenant", tenant.slug, *arguments, stdout=out)
    assert raised.value.returncode == 1
    return out.getvalue()


def test_a_key_s_life_is_told_with_who_and_without_its_text():
    acme = organisation()
    text = key_of(acme.owner)
    with tenant_scope(acme.tenant.id):
        key = ApiKey.objects.get()
    services.api_key_revoke(actor=acme.owner, key_id=key.id)
    made, revoked = entries(acme.tenant)
    assert [made.number, revoked.number] == [1, 2]
    assert (made.action, made.via, made.user_id) == ("api_key.created", "command", None)
    assert (revoked.action, revoked.via) == ("api_key.revoked", "browser")
    assert (revoked.user_id, revoked.target_id) == (acme.owner.user_id, str(key.id))
    assert made.facts["prefix"] == key.prefix
    assert text not in made.facts_text
    assert verify("--tenant", acme.tenant.slug) == f"{acme.tenant.slug}: 2 entries, whole.\n"


def test_who_makes_a_key_over_the_api_is_told():
    acme = organisation()
    with tenant_scope(acme.tenant.id):
        keys.api_key_make(actor=acme.owner, name="of a program")
    (made,) = entries(acme.tenant)
    assert (made.action, made.via, made.user_id) == ("api_key.created", "browser", acme.owner.user_id)


def test_facts_are_masked_and_of_any_language():
    acme = organisation()
    with tenant_scope(acme.tenant.id):
        audit_entry_create(
            by=who(acme.owner),
            action="thing.changed",
            facts={
                "password": "hunter2hunter2",
                "note": "Größe „ü“ 漢字 \x00 \n \\",
                "ratio": 0.1,
                "none": None,
            },
        )
        assert verified(acme.tenant.id).fault == ""
    (kept,) = entries(acme.tenant)
    assert "hunter2" not in kept.facts_text
    assert kept.facts["note"].startswith("Größe „ü“ 漢字")


def test_what_is_rolled_back_leaves_neither_entry_nor_gap():
    acme = organisation()
    told(acme.tenant, "first")
    with tenant_scope(acme.tenant.id):
        audit_entry_create(by=BY_COMMAND, action="thing.undone")
        transaction.set_rollback(True)
    told(acme.tenant, "second")
    assert [(one.number, one.action) for one in entries(acme.tenant)] == [
        (1, "thing.first"),
        (2, "thing.second"),
    ]


async def test_a_script_tells_in_its_own_transaction():
    from asgiref.sync import sync_to_async  # noqa: PLC0415 of this story alone

    acme = await sync_to_async(organisation)()

    def script():
        yield [entry(by=who(acme.owner), action="thing.done", target_id=acme.tenant.id, facts={})]

    await perform(acme.tenant.id, script())
    (kept,) = await sync_to_async(entries)(acme.tenant)
    assert (kept.action, kept.target_id) == ("thing.done", str(acme.tenant.id))


def test_many_writers_at_once_make_one_chain_and_tenants_do_not_wait_for_each_other():
    acme, other = organisation("acme"), organisation("other")
    told(acme.tenant, "first")

    def write(number):
        try:
            for time in range(EACH):
                told(acme.tenant, f"{number}-{time}")
        finally:
            connection.close()

    # While this transaction holds the other's chain, acme's goes on.
    with tenant_scope(other.tenant.id):
        audit_entry_create(by=BY_COMMAND, action="thing.held")
        writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    assert [one.number for one in entries(acme.tenant)] == list(range(1, WRITERS * EACH + 2))
    assert "whole" in verify("--tenant", acme.tenant.slug)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tenancy_auditentry SET action = 'nothing.done'",
        "DELETE FROM tenancy_auditentry",
        "TRUNCATE tenancy_auditentry",
        "INSERT INTO tenancy_auditentry SELECT * FROM tenancy_auditentry",
        "UPDATE tenancy_audithead SET number = 0",
        "DELETE FROM tenancy_audithead",
        "INSERT INTO tenancy_audithead SELECT * FROM tenancy_audithead",
    ],
)
def test_the_application_can_neither_change_nor_take_away_nor_forge(statement):
    acme = organisation()
    told(acme.tenant, "done")
    with pytest.raises(ProgrammingError, match="permission denied"), tenant_scope(acme.tenant.id):
        connection.cursor().execute(statement)


def test_entries_arrive_with_their_tenant_alone():
    acme = organisation()
    told(acme.tenant, "done")
    with pytest.raises(ProgrammingError, match="arrive with their tenant"), tenant_scope(acme.tenant.id):
        connection.cursor().execute("SELECT tenancy_audit_take_in('[]')")


def test_without_a_tenant_nothing_is_told():
    with pytest.raises(ProgrammingError, match="needs a tenant"), transaction.atomic():
        audit_entry_create(by=BY_COMMAND, action="thing.done")


def test_another_tenant_s_audit_is_not_seen():
    acme, other = organisation("acme"), organisation("other")
    told(acme.tenant, "done")
    assert entries(other.tenant) == []
    with tenant_scope(other.tenant.id):
        assert not AuditHead.objects.exists()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            "UPDATE tenancy_auditentry SET action = 'nothing.done' WHERE number = 2 AND tenant_id = %s",
            "Entry 2 (",
        ),
        ("UPDATE tenancy_auditentry SET facts_text = '{}' WHERE number = 1 AND tenant_id = %s", "Entry 1 ("),
        ("DELETE FROM tenancy_auditentry WHERE number = 2 AND tenant_id = %s", "Entry 2 is missing"),
        ("DELETE FROM tenancy_auditentry WHERE number = 3 AND tenant_id = %s", "Entry 3 is missing"),
        ("DELETE FROM tenancy_auditentry WHERE tenant_id = %s", "Entry 1 is missing"),
        ("UPDATE tenancy_audithead SET number = 2 WHERE tenant_id = %s", "Entry 2 is not the one"),
        ("DELETE FROM tenancy_audithead WHERE tenant_id = %s", "Entry 1 lies behind the chain's head"),
    ],
)
def test_what_somebody_does_to_the_tables_is_noticed(stack, damage, sentence):
    acme = organisation()
    told(acme.tenant, "first", "second", "third")
    with stack.superuser() as superuser:
        superuser.execute(damage, [acme.tenant.id])
    assert sentence in broken(acme.tenant)


def test_a_chain_that_was_shortened_with_its_head_is_noticed_by_a_head_kept_elsewhere(stack, tmp_path):
    acme = organisation()
    told(acme.tenant, "first", "second")
    file = tmp_path / "heads.json"
    verify("--tenant", acme.tenant.slug, "--heads-to", str(file))
    told(acme.tenant, "third")
    assert "whole" in verify("--tenant", acme.tenant.slug, "--heads-from", str(file))
    (first, *_) = entries(acme.tenant)
    with stack.superuser() as superuser:
        superuser.execute(
            "DELETE FROM tenancy_auditentry WHERE number > 1 AND tenant_id = %s", [acme.tenant.id]
        )
        superuser.execute(
            "UPDATE tenancy_audithead SET number = 1, digest = %s WHERE tenant_id = %s",
            [bytes(first.digest), acme.tenant.id],
        )
    assert "whole" in verify("--tenant", acme.tenant.slug)
    assert "Entry 2, which was noted earlier, is missing" in broken(acme.tenant, "--heads-from", str(file))
    told(acme.tenant, "another second")
    assert "Entry 2 is not the one that was noted earlier" in broken(acme.tenant, "--heads-from", str(file))


def test_a_file_that_holds_no_heads_is_refused(tmp_path):
    file = tmp_path / "heads.json"
    file.write_text("[]")
    with pytest.raises(CommandError, match="holds no heads"):
        verify("--heads-from", str(file))
    with pytest.raises(CommandError, match="no tenant nobody"):
        verify("--tenant", "nobody")
