"""A tenant leaves one installation and is at home in another, as it was."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from apps.sessions import keys
from apps.sessions.models import Agent
from settings import MODULES
from somaagent.embedded import Stack
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.models import Role, User
from somaagent.tenancy.scope import tenant_scope
from tests import stack as stacks
from tests.factories import Organisation, key_of, organisation, person, submitted
from tests.integration.tools.conftest import calls, model, post  # noqa: F401 fixtures
from tests.integration.tools.hosted import hosted
from tests.servers import started
from tests.stack import PROJECT_ROOT, RunningStack, foreign_environment

pytestmark = pytest.mark.django_db(transaction=True)

ELSEWHERE = {
    "SA01_PUBLIC_URL": "https://agents.example.org",
    "SA01_SECURE_COOKIES": "true",
    "SA01_ALLOWED_HOSTS": "agents.example.org",
}
KEY = "sk-of-the-tenant-alone-0123456789"


def manage(where: RunningStack, *command: str | Path, mode: str = "SAAS") -> subprocess.CompletedProcess[str]:
    """With a mode's own settings, not the tests'."""
    chosen = {"SA01_DEPLOYMENT_MODE": mode, "DJANGO_SETTINGS_MODULE": MODULES[mode]}
    return subprocess.run(
        [sys.executable, "manage.py", *map(str, command)],
        cwd=PROJECT_ROOT,
        env=foreign_environment() | where.environment | ELSEWHERE | chosen,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def tenant(*arguments: str | Path) -> str:
    said = StringIO()
    call_command("tenant", *map(str, arguments), stdout=said)
    return said.getvalue()


def manifest(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Any] = json.loads(archive.read("manifest.json"))
    return found


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[RunningStack]:
    """Another installation, with a Vault of its own and nobody in it."""
    with tempfile.TemporaryDirectory(prefix="soma-test-") as folder:
        servers = Stack(Path(folder) / "data", model=False, durable=False)
        with servers.lock():
            stacks.lay_in_migrated(servers)
            with started(servers):
                yield RunningStack.of(servers)


@pytest.fixture
def acme(model: str, post: Any) -> Organisation:  # noqa: F811 the fixtures
    """An organisation with tools, somebody who reads, and a model's key of its own."""
    acme = organisation("acme", model_url=model)
    person("viewer", acme.tenant, Role.VIEWER)
    with tenant_scope(acme.tenant.id):
        Agent.objects.filter(id=acme.agent.id).update(tools=["send", "look"])
        profile = acme.agent.model_profile
        profile.encrypted_key = keys.sealed(profile, KEY)
        profile.input_price = Decimal("0.15")
        profile.save()
    return acme


def test_what_arrives_elsewhere_is_what_left(acme, elsewhere, tmp_path):
    there, back = tmp_path / "acme.zip", tmp_path / "back.zip"
    key = tmp_path / "acme.key"
    api_key = key_of(acme.owner)

    said = tenant("export", acme.tenant.slug, there, "--secrets-key", key)
    assert "users: 2" in said
    assert key.stat().st_mode & 0o777 == 0o600
    assert KEY.encode() not in b"".join(_content(there))

    arrived = manage(elsewhere, "tenant", "import", there, "--secrets-key", key)
    assert arrived.returncode == 0, arrived.stderr
    verified = manage(elsewhere, "audit_verify", "--tenant", acme.tenant.slug)
    # The key's, and that it came; that it was exported is told behind the archive.
    assert f"{acme.tenant.slug}: 2 entries, whole." in verified.stdout, verified.stderr
    again = manage(
        elsewhere, "tenant", "export", acme.tenant.slug, back, "--secrets-key", tmp_path / "back.key"
    )
    assert again.returncode == 0, again.stderr
    sealed, entries = "tables/agent_sessions_modelprofile.jsonl", "tables/tenancy_auditentry.jsonl"
    before, after = manifest(there)["files"], manifest(back)["files"]
    assert before.keys() == after.keys()
    changed = [name for name in before if before[name] != after[name]]
    assert changed == [sealed, entries]  # sealed anew, under another key; and told of
    (exported,) = (entry for entry in told(acme) if entry["action"] == "tenant.exported")
    (*came_along, imported) = (json.loads(line) for line in _content(back, entries))
    assert imported["action"] == "tenant.imported"
    assert digest_of(imported) == digest_of(exported)
    assert came_along == [json.loads(line) for line in _content(there, entries)]
    (ours,), (theirs,) = ([json.loads(line) for line in _content(path, sealed)] for path in (there, back))
    assert ours | {"encrypted_key": ""} == theirs | {"encrypted_key": ""}
    assert Decimal(ours["input_price"]) == Decimal("0.15")
    assert manage(elsewhere, "tenant", "import", there, "--secrets-key", key).returncode == 1

    opened = manage(elsewhere, "shell", "-c", _OPEN.format(tenant=acme.tenant.id, api_key=api_key))
    assert opened.stdout.splitlines()[-1] == f"{KEY} owner False", opened.stderr


def told(acme: Organisation) -> list[dict[str, Any]]:
    """The audit of an organisation here."""
    with tenant_scope(acme.tenant.id):
        return [dict(row) for row in AuditEntry.objects.order_by("number").values()]


def digest_of(entry: dict[str, Any]) -> str:
    """Which archive an entry is about."""
    found: str = json.loads(entry["facts_text"])["manifest_sha256"]
    return found


# What is known there: the model's key, who the API key stands for, and that nobody became operator.
_OPEN = """
from apps.sessions import keys
from apps.sessions.models import Agent
from apps.sessions.models import ModelProfile
from somaagent.tenancy.models import User
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.selectors import actor_by_api_key
with tenant_scope("{tenant}"):
    key = keys.opened(ModelProfile.objects.get())
print(key, actor_by_api_key("{api_key}").role, User.objects.filter(is_staff=True).exists())
"""


def _content(path: Path, name: str = "") -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        return [
            line for file in archive.namelist() if name in file for line in archive.read(file).splitlines()
        ]


def test_only_an_installation_for_many_takes_a_second_tenant(acme, elsewhere, tmp_path):
    first, second = (tmp_path / f"{name}.zip" for name in ("first", "second"))
    tenant("export", acme.tenant.slug, first)
    tenant("export", organisation("other").tenant.slug, second)
    moved = manage(elsewhere, "tenant", "import", first, "--slug", f"{acme.tenant.slug}-too")
    assert moved.returncode == 0, moved.stderr

    refused = manage(elsewhere, "tenant", "import", second, mode="STANDALONE")
    assert refused.returncode == 1
    assert "This installation is for one tenant, and has" in refused.stderr
    assert "SA01_DEPLOYMENT_MODE=SAAS" in refused.stderr
    taken = manage(elsewhere, "tenant", "import", second)
    assert taken.returncode == 0, taken.stderr


def test_without_a_key_secrets_stay_and_that_is_said(acme, tmp_path):
    said = tenant("export", acme.tenant.slug, tmp_path / "acme.zip")
    profile = acme.agent.model_profile_id
    assert f"set it again: agent_sessions_modelprofile {profile} encrypted_key" in said
    (row,) = _content(tmp_path / "acme.zip", "modelprofile")
    assert json.loads(row)["encrypted_key"] == ""


def test_what_runs_keeps_a_tenant_where_it_is(acme, tmp_path):
    with tenant_scope(acme.tenant.id):
        turn = submitted(acme.owner, calls(("send", {"to": "Ada"}))).turn
    with pytest.raises(CommandError, match=r"1 turns of .* would go on in two places"):
        tenant("export", acme.tenant.slug, tmp_path / "acme.zip", "--secrets-key", tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
    assert hosted(acme, turn).state == "awaiting_approval"
    tenant("export", acme.tenant.slug, tmp_path / "acme.zip")
    facts = manifest(tmp_path / "acme.zip")["files"]
    assert facts["tables/chat_turn.jsonl"]["rows"] == 1
    assert facts["tables/chat_call.jsonl"]["rows"] == 1
    assert facts["tables/tools_tooldecision.jsonl"]["rows"] >= 1


def test_what_is_no_whole_archive_is_refused(acme, tmp_path):
    path = tmp_path / "acme.zip"
    tenant("export", acme.tenant.slug, path)
    with pytest.raises(CommandError, match="is here already"):
        tenant("import", path)
    with pytest.raises(CommandError, match="cannot be written"):
        tenant("export", acme.tenant.slug, path)
    with pytest.raises(CommandError, match="no tenant 'nobody'"):
        tenant("export", "nobody", tmp_path / "nobody.zip")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("users.jsonl", b'{"id": "another"}\n')
    with pytest.raises(CommandError, match=r"damaged: users.jsonl is not what"):
        tenant("import", path)
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(CommandError, match="is no archive of a tenant"):
        tenant("import", tmp_path / "text.zip")


def test_people_who_have_another_s_name_keep_a_tenant_out(acme, elsewhere, tmp_path):
    path = tmp_path / "acme.zip"
    tenant("export", acme.tenant.slug, path)
    owner = User.objects.get(id=acme.owner.user_id)
    assert manage(elsewhere, "shell", "-c", _MAKE.format(owner.username.upper())).returncode == 0
    refused = manage(elsewhere, "tenant", "import", path)
    assert refused.returncode == 1
    assert f"Other people are called so here: {owner.username}" in refused.stderr
    with elsewhere.superuser() as database:
        tenants = [row[0] for row in database.execute("SELECT id FROM tenancy_tenant")]
    assert acme.tenant.id not in tenants


_MAKE = "from somaagent.tenancy.models import User; User.objects.create(username={!r})"
