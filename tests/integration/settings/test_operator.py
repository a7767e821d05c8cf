"""What an operator does in Vault: makes it ready, again and again, and sets what only they know."""

from __future__ import annotations

import json
import stat
from typing import Any

from tests.integration.settings.conftest import Installation
from tests.integration.settings.test_boot import LOAD, secret_values


def state(installation: Installation) -> dict[str, Any]:
    """Everything that ``bootstrap_vault`` makes, with versions, so that a second run can be compared."""
    client, mount = installation.vault.client(), installation.environment["SA01_VAULT_MOUNT"]
    kv, roles = client.secrets.kv.v2, client.auth.approle
    files = installation.folder.glob("login/*")
    logins = {name: f"{mount}-{name}" for name in ("app", "owner")}
    accessors = {name: roles.list_secret_id_accessors(role)["data"]["keys"] for name, role in logins.items()}
    return {
        "files": {file.name: (file.read_text(), file.stat().st_mtime_ns) for file in files},
        "versions": {
            path: kv.read_secret_metadata(path, mount_point=mount)["data"]["current_version"]
            for path in ("core", "database/soma_app", "database/soma_owner", "models/local")
        },
        "policies": {name: client.sys.read_policy(role)["data"] for name, role in logins.items()},
        "roles": {name: roles.read_role(role)["data"] for name, role in logins.items()},
        "secret_ids": accessors,
    }  # fmt: skip


def test_a_vault_that_is_ready_is_left_as_it_is(installation: Installation):
    first = installation.bootstrap("--model-secret", "local")
    mount = installation.environment["SA01_VAULT_MOUNT"]
    assert f"generated {mount}/models/local api_key" in first.stdout
    before = state(installation)

    again = installation.bootstrap("--model-secret", "local")

    assert (again.returncode, again.stdout) == (0, "Vault was ready: nothing changed.\n")
    assert state(installation) == before
    for file in installation.folder.glob("login/*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((installation.folder / "login").stat().st_mode) == 0o700
    assert not any(value in first.stdout + first.stderr for value in secret_values(installation))


def test_what_was_lost_is_made_again_and_what_is_there_is_kept(installation: Installation):
    installation.bootstrap("--model-secret", "local")
    before = state(installation)
    (installation.folder / "login" / "app.secret-id").write_text("not-a-secret-id")
    (installation.folder / "login" / "owner.role-id").unlink()
    assert installation.manage("secret", "unset", "SA01_VALKEY_PASSWORD").returncode == 0

    mended = installation.bootstrap()

    assert mended.returncode == 0, mended.stderr
    assert "3 changes" in mended.stdout
    after = state(installation)
    assert after["files"]["owner.role-id"][0] == before["files"]["owner.role-id"][0]
    assert after["files"]["owner.secret-id"] == before["files"]["owner.secret-id"]
    assert after["versions"] == {**before["versions"], "core": before["versions"]["core"] + 2}
    assert installation.run("-c", LOAD).returncode == 0


def test_the_owner_and_the_application_have_the_least_that_they_need(installation: Installation):
    client, mount = installation.vault.client(), installation.environment["SA01_VAULT_MOUNT"]

    for role, allowed, denied in (
        ("app", ["core", "database/soma_app", "models/any"], ["database/soma_owner", "other"]),
        ("owner", ["core", "database/soma_owner"], ["database/soma_app", "models/any"]),
    ):
        token = client.auth.token.create(policies=[f"{mount}-{role}"], no_default_policy=True)["auth"][
            "client_token"
        ]
        paths = [f"{mount}/data/{path}" for path in allowed + denied] + [
            "auth/token/renew-self",
            "sys/policies/acl/x",
        ]
        can = client.sys.get_capabilities(paths=paths, token=token)["data"]
        assert [can[f"{mount}/data/{path}"] for path in allowed] == [["read"]] * len(allowed)
        assert [can[f"{mount}/data/{path}"] for path in denied] == [["deny"]] * len(denied)
        assert can["auth/token/renew-self"] == ["update"]
        assert can["sys/policies/acl/x"] == ["deny"]


def test_the_process_that_migrates_boots_as_the_owner(installation: Installation):
    owner = installation.with_(
        SA01_DB_USER="soma_owner",
        SA01_VAULT_ROLE_ID=(installation.folder / "login" / "owner.role-id").read_text().strip(),
        SA01_VAULT_SECRET_ID_FILE=str(installation.folder / "login" / "owner.secret-id"),
    )
    assert installation.run("-c", LOAD, environment=owner).returncode == 0


def test_a_secret_is_piped_in_listed_by_name_and_taken_away(installation: Installation):
    kv, mount = installation.vault.client().secrets.kv.v2, installation.environment["SA01_VAULT_MOUNT"]

    for name in ("SA01_DB_PASSWORD", "models/openai", "oidc/corporate", "database/soma_owner"):
        done = installation.manage("secret", "set", name, "--stdin", stdin="hunter2 with spaces\n")
        assert done.returncode == 0, done.stderr
        assert "hunter2" not in done.stdout + done.stderr
    for path, key in {
        "database/soma_app": "password",
        "models/openai": "api_key",
        "oidc/corporate": "client_secret",
        "database/soma_owner": "password",
    }.items():
        stored = kv.read_secret_version(path, mount_point=mount, raise_on_deleted_version=True)["data"][
            "data"
        ]
        assert stored == {key: "hunter2 with spaces"}

    assert installation.manage("secret", "unset", "SA01_VALKEY_PASSWORD").returncode == 0
    listed = installation.manage("secret", "list")
    states = {line.split()[0]: line.split()[-1] for line in listed.stdout.splitlines()}
    assert states == {
        "SA01_SECRET_KEY": "set",
        "SA01_VALKEY_PASSWORD": "missing",
        "SA01_DB_PASSWORD": "set",
        "SA01_KAFKA_PASSWORD": "optional",
        "database/soma_owner": "set",
        "models/openai": "set",
        "oidc/corporate": "set",
    }
    assert not any(value in listed.stdout for value in secret_values(installation))
    assert "was not set" in installation.manage("secret", "unset", "SA01_VALKEY_PASSWORD").stdout


def test_a_secret_that_cannot_be_taken_changes_nothing(installation: Installation):
    kv, mount = installation.vault.client().secrets.kv.v2, installation.environment["SA01_VAULT_MOUNT"]

    for arguments, stdin, said in (
        (("SA01_SECRET_KEY", "--stdin"), "", "is empty"),
        (("SA01_SECRET_KEY", "--stdin"), "two\nlines\n", "cannot be printed"),
        (("SA01_SECRET_KEY",), "typed", "say --stdin"),
        (("SA01_DEBUG", "--stdin"), "x", "There is no secret SA01_DEBUG"),
        (("models/../core", "--stdin"), "x", "There is no secret models/../core"),
    ):
        refused = installation.manage("secret", "set", *arguments, stdin=stdin)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
    assert kv.read_secret_metadata("core", mount_point=mount)["data"]["current_version"] == 2


def test_an_operator_who_may_not_is_told_so(installation: Installation):
    policy = f"{installation.environment['SA01_VAULT_MOUNT']}-app"
    weak = installation.vault.client().auth.token.create(policies=[policy])["auth"]["client_token"]
    file = installation.folder / "weak.token"
    file.write_text(weak)
    environment = installation.with_(SA01_VAULT_OPERATOR_TOKEN_FILE=str(file))

    refused = installation.manage("bootstrap_vault", environment=environment)

    assert refused.returncode == 2
    assert f"the operator's token in {file} may not mount KV" in refused.stderr
    assert weak not in refused.stderr
    occupied = installation.manage("bootstrap_vault", environment=installation.with_(SA01_VAULT_MOUNT="sys"))
    assert "is not KV version 2" in occupied.stderr


def test_check_config_names_what_does_not_answer(installation: Installation):
    checked = installation.manage("check_config", "--format", "json")

    document = json.loads(checked.stdout)
    states = {check["name"]: check["state"] for check in document["checks"]}
    assert checked.returncode == 1
    assert states["Vault token"] == "ok"
    assert states["Database"] == states["Valkey"] == "problem"
    assert {problem["setting"] for problem in document["problems"]} >= {"SA01_DB_HOST", "SA01_VALKEY_HOST"}
    assert not any(value in checked.stdout + checked.stderr for value in secret_values(installation))

    root = installation.with_(
        SA01_VAULT_AUTH="token_file", SA01_VAULT_TOKEN_FILE=str(installation.vault.operator_token_file)
    )
    assert "root token" in installation.manage("check_config", environment=root).stdout
