"""A process that boots finds all its settings, or ends and says all that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.settings.conftest import Installation
from tests.integration.settings.openbao import HOST, OpenBao, free_port

LOAD = "import importlib, settings;importlib.import_module(settings.module_for_environment());print('loaded')"
SAAS = {
    "SA01_DEPLOYMENT_MODE": "SAAS",
    "SA01_PUBLIC_URL": "https://agents.example.org",
    "SA01_SECURE_COOKIES": "true",
}


def secret_values(installation: Installation) -> set[str]:
    """Everything that must not be seen."""
    kv = installation.vault.client().secrets.kv.v2
    mount = installation.environment["SA01_VAULT_MOUNT"]
    paths = ("core", "database/soma_app", "database/soma_owner")
    documents = [
        kv.read_secret_version(path, mount_point=mount, raise_on_deleted_version=False) for path in paths
    ]
    values = {value for document in documents for value in (document["data"]["data"] or {}).values()}
    files = [*installation.folder.glob("login/*.secret-id"), installation.vault.operator_token_file]
    return values | {file.read_text().strip() for file in files}


def set_core(installation: Installation, **changes: str | None) -> None:
    """Writes Vault's ``core``; None takes a key away."""
    kv, mount = installation.vault.client().secrets.kv.v2, installation.environment["SA01_VAULT_MOUNT"]
    core = kv.read_secret_version("core", mount_point=mount, raise_on_deleted_version=True)["data"]["data"]
    core = {key: value for key, value in {**core, **changes}.items() if value is not None}
    kv.create_or_update_secret("core", core, mount_point=mount)


def test_a_sound_installation_loads_its_settings_in_either_mode(installation: Installation):
    for more in ({}, SAAS):
        booted = installation.run("-c", LOAD, environment=installation.with_(**more))
        assert (booted.returncode, booted.stdout) == (0, "loaded\n"), booted.stderr


def test_a_secret_gone_from_vault_and_a_misspelt_variable_are_named_together(installation: Installation):
    set_core(installation, valkey_password=None)
    environment = installation.without("SA01_GATEWAY_PORT") | {"SA01_GATEWAY_PROT": "20080"}

    for command in (["-c", LOAD], ["manage.py", "migrate"]):
        booted = installation.run(*command, environment=environment)
        assert booted.returncode == 1
        assert "3 problems" in booted.stderr
        assert "SA01_VALKEY_PASSWORD" in booted.stderr
        assert "python manage.py secret set SA01_VALKEY_PASSWORD" in booted.stderr
        assert (
            "SA01_GATEWAY_PROT: is not the name of a setting; the nearest known name is SA01_GATEWAY_PORT"
            in booted.stderr
        )
        assert "Traceback" not in booted.stderr
        assert not any(value in booted.stderr + booted.stdout for value in secret_values(installation))

    checked = installation.manage("check_config", "--format", "json", environment=environment)
    document = json.loads(checked.stdout)
    assert checked.returncode == 1
    assert {problem["setting"] for problem in document["problems"]} == {
        "SA01_GATEWAY_PORT", "SA01_GATEWAY_PROT", "SA01_VALKEY_PASSWORD",
    }  # fmt: skip
    assert not any(value in checked.stdout + checked.stderr for value in secret_values(installation))

    mended = installation.manage("secret", "set", "SA01_VALKEY_PASSWORD", "--stdin", stdin="new\n")
    assert mended.returncode == 0, mended.stderr
    assert installation.run("-c", LOAD).returncode == 0


def _login_refused(installation: Installation, folder: Path) -> dict[str, str]:
    (folder / "wrong").write_text("00000000-0000-0000-0000-000000000000")
    return {"SA01_VAULT_SECRET_ID_FILE": str(folder / "wrong")}


def _login_missing(installation: Installation, folder: Path) -> dict[str, str]:
    return {"SA01_VAULT_SECRET_ID_FILE": str(folder / "nowhere")}


def _token_wrong(installation: Installation, folder: Path) -> dict[str, str]:
    (folder / "token").write_text("s.nonsense")
    return {"SA01_VAULT_AUTH": "token_file", "SA01_VAULT_TOKEN_FILE": str(folder / "token")}


def _unreachable(installation: Installation, folder: Path) -> dict[str, str]:
    return {"SA01_VAULT_ADDR": f"http://{HOST}:{free_port()}"}


def _unknown_host(installation: Installation, folder: Path) -> dict[str, str]:
    return {"SA01_VAULT_ADDR": "http://vault.invalid:8200"}


def _no_ca_file(installation: Installation, folder: Path) -> dict[str, str]:
    return {"SA01_VAULT_CA_FILE": str(folder / "ca.pem")}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_login_refused, "refused the AppRole role id and the secret id in"),
        (_login_missing, "The AppRole secret id cannot be read from"),
        (_token_wrong, "refused the token in"),
        (_unreachable, "is unreachable (connection refused)"),
        (_unknown_host, "is unreachable (its name is not known)"),
        (_no_ca_file, "ca.pem"),
    ],
)
def test_a_vault_that_cannot_be_used_is_one_problem_beside_those_of_the_environment(
    installation: Installation, tmp_path: Path, spoil, said: str
):
    environment = installation.without("SA01_DB_HOST") | spoil(installation, tmp_path)
    booted = installation.run("-c", LOAD, environment=environment)

    assert booted.returncode == 1
    assert "2 problems" in booted.stderr, booted.stderr
    assert "SA01_DB_HOST: is not set" in booted.stderr
    assert said in booted.stderr
    assert "Traceback" not in booted.stderr
    assert "hunter" not in booted.stderr


def test_what_is_not_in_vault_has_a_message_of_its_own(installation: Installation):
    client, mount = installation.vault.client(), installation.environment["SA01_VAULT_MOUNT"]

    def said(**more: str) -> str:
        return installation.run("-c", LOAD, environment=installation.with_(**more)).stderr

    set_core(installation, valkey_password=None)
    assert f"{mount}/core in Vault has no key valkey_password" in said()
    client.secrets.kv.v2.delete_latest_version_of_secret("core", mount_point=mount)
    assert f"the last version of {mount}/core was deleted" in said()
    client.secrets.kv.v2.delete_metadata_and_all_versions("core", mount_point=mount)
    assert f"Vault holds nothing under {mount}/core" in said()
    assert f"does not let this process read {mount}/database/soma_owner" in said(SA01_DB_USER="soma_owner")
    assert installation.bootstrap().returncode == 0
    assert installation.run("-c", LOAD).returncode == 0


def test_a_boot_waits_for_a_vault_that_is_still_starting(installation: Installation):
    vault = installation.vault
    vault.stop()
    try:
        impatient = installation.run("-c", LOAD)
        assert "unreachable" in impatient.stderr
        waiting = installation.start("-c", LOAD, environment=installation.with_(SA01_VAULT_BOOT_SECONDS="30"))
    finally:
        vault.start()
    output, errors = waiting.communicate(timeout=40)
    assert waiting.returncode == 0, errors
    assert output.endswith("loaded\n")


def test_a_sealed_and_a_new_vault_are_told_apart(installation: Installation, tmp_path: Path):
    new = OpenBao(tmp_path / "new", initialise=False)
    try:
        booted = installation.run("-c", LOAD, environment=installation.with_(SA01_VAULT_ADDR=new.address))
        assert "is not initialised" in booted.stderr
        assert "bao operator init" in booted.stderr
    finally:
        new.stop()

    installation.vault.client().sys.seal()
    try:
        booted = installation.run("-c", LOAD)
        assert "is sealed" in booted.stderr
        assert "bao operator unseal" in booted.stderr
    finally:
        installation.vault.restart()
    assert installation.run("-c", LOAD).returncode == 0
