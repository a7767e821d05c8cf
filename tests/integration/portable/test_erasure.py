"""A tenant is erased, and nothing of it is left anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from apps.chat import stream
from apps.chat.models import Turn
from apps.sessions.models import Agent
from somaagent import valkey
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.models import Role, Tenant, User
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.services import membership_create
from tests.factories import Organisation, key_of, organisation, person, submitted, user_of
from tests.integration.tools.conftest import calls, model, post  # noqa: F401 fixtures
from tests.integration.tools.hosted import hosted
from tests.stack import PROJECT_ROOT, RunningStack, foreign_environment

pytestmark = pytest.mark.django_db(transaction=True)


def manage(stack: RunningStack, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "tenant", *map(str, command)],
        cwd=PROJECT_ROOT,
        env=foreign_environment() | stack.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def acme(model: str, post: Any) -> Organisation:  # noqa: F811 the fixtures
    """An organisation that has talked, and called tools."""
    acme = organisation("acme", model_url=model)
    with tenant_scope(acme.tenant.id):
        Agent.objects.filter(id=acme.agent.id).update(tools=["look"])
        turn = submitted(acme.owner, calls(("look", {"to": "Oslo"})) + "\nthen say: Far.").turn
    assert hosted(acme, turn).state == "completed"
    return acme


def left(stack: RunningStack, *wanted: object) -> list[str]:
    """Tables and keys that hold one of these, whoever's they are."""
    with stack.superuser() as superuser:
        tables = superuser.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        patterns = [f"%{each}%" for each in wanted]
        found = [name for (name,) in tables if superuser.execute(_HOLDS.format(name), [patterns]).fetchone()]
    keys = valkey.blocking_client().keys("*")
    return found + [key.decode() for key in keys if any(str(each) in key.decode() for each in wanted)]


_HOLDS = 'SELECT 1 FROM "{}" found WHERE found::text LIKE ANY(%s) LIMIT 1'


def suspend(acme: Organisation) -> None:
    Tenant.objects.filter(id=acme.tenant.id).update(suspended_at=timezone.now())


def test_nothing_of_it_is_found_and_a_signed_report_says_so(acme, stack, tmp_path):
    neighbour = organisation("neighbour")
    both = person("of-both", acme.tenant)
    membership_create(tenant=neighbour.tenant, user=user_of(both), role=Role.MEMBER)
    with tenant_scope(acme.tenant.id):
        turns = list(Turn.objects.values_list("id", flat=True))
    report = tmp_path / "report.json"
    assert left(stack, acme.tenant.id, acme.owner.user_id, stream.key_of(turns[0]))
    key_of(acme.owner)
    with tenant_scope(acme.tenant.id):
        last = AuditEntry.objects.latest("number")
        end = {"number": last.number, "digest": bytes(last.digest).hex()}
    suspend(acme)

    done = manage(stack, "erase", acme.tenant.slug, report, "--for-ever", acme.tenant.slug)
    assert done.returncode == 0, done.stderr
    assert left(stack, acme.tenant.id, acme.owner.user_id, *turns) == []
    assert User.objects.filter(id=both.user_id).exists()
    with tenant_scope(neighbour.tenant.id):
        assert Agent.objects.count() == 1
    told = json.loads(report.read_text())
    assert told["erased"]["tenant_id"] == str(acme.tenant.id)
    assert "audit.without_tenant" in done.stdout
    assert "tenant.erased" in done.stdout
    assert told["events_not_published"] == told["rows"]["tenancy_outboxevent"]
    assert told["audit_head"] == end
    assert (told["rows"]["chat_turn"], told["rows"]["tools_toolcallrecord"], told["people"]) == (1, 1, 1)

    call_command("tenant", "verify-report", str(report))
    report.write_text(report.read_text().replace('"people": 1', '"people": 0'))
    with pytest.raises(CommandError, match="was changed"):
        call_command("tenant", "verify-report", str(report))


def test_who_is_not_sure_erases_nothing(acme, tmp_path):
    report, slug = tmp_path / "report.json", acme.tenant.slug
    refused(slug, report, slug, why="is not suspended")
    suspend(acme)
    refused(slug, report, "another", why="nothing was erased")
    refused("nobody", report, "nobody", why="There is no tenant")
    refused(slug, tmp_path / "no" / "report", slug, why="cannot be written")
    refused(slug, report, slug, why="needs the role that owns the tables")
    assert not report.exists()
    with tenant_scope(acme.tenant.id):
        assert Turn.objects.count() == 1


def refused(slug: str, report: Path, again: str, *, why: str) -> None:
    """By the command as the application would run it."""
    with pytest.raises(CommandError, match=why):
        call_command("tenant", "erase", slug, str(report), "--for-ever", again)
