"""What tenants entrust to us: sealed under a key that never leaves Vault, opened for its own row alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from uuid import uuid4

import pytest

from settings.vault import (
    SealBroken,
    SecretReader,
    TransitMissing,
    VaultConnection,
    VaultDenied,
    VaultError,
    VaultUnreachable,
)
from tests.integration.settings.conftest import Installation
from tests.integration.settings.openbao import OpenBao

KEY = "sk-a-tenants-own-key"


@pytest.fixture
def transit(vault: OpenBao, installation: Installation):
    """The operator's view of the transit engine: its calls, and where it stands."""
    return vault.client().secrets.transit, f"{installation.environment['SA01_VAULT_MOUNT']}-transit"


def row(**facts):
    return {"tenant_id": uuid4(), "purpose": "model_profile.api_key", "row_id": uuid4()} | facts


def test_a_secret_opens_for_its_own_row_alone_and_in_any_process(connection, open_reader):
    mine = row()
    sealed = open_reader(connection).encrypt(KEY, **mine)

    assert KEY not in sealed
    assert KEY not in base64.b64decode(sealed.rpartition(".")[2], altchars=b"-_").decode("latin-1")
    other = open_reader(connection)
    assert other.decrypt(sealed, **mine) == KEY
    for wrong in (
        {"tenant_id": uuid4()},
        {"row_id": uuid4()},
        {"purpose": "webhook.secret"},
    ):
        with pytest.raises(SealBroken):
            other.decrypt(sealed, **{**mine, **wrong})
    form, wrapped, body = sealed.split(".")
    for spoilt in (
        "",
        "plain text",
        f"soma2.{wrapped}.{body}",
        f"{form}.{wrapped}.{body[:-8]}AAAAAAAA",
        f"{form}.{wrapped}.AAAA",
        f"{form}.{wrapped}.not base64",
        f"{form}.{base64.urlsafe_b64encode(b'vault:v1:AAAA').decode()}.{body}",
    ):
        with pytest.raises(SealBroken):
            other.decrypt(spoilt, **mine)


def test_a_secret_that_was_opened_is_masked(connection, open_reader):
    mine, reader = row(), open_reader(connection)
    sealed = reader.encrypt(KEY, **mine)
    reader.decrypt(sealed, **mine)
    assert reader.masked(f"Authorization: {KEY}.") == "Authorization: ••••."
    short = reader.encrypt("e", **mine)
    assert reader.decrypt(short, **mine) == "e"
    assert reader.masked("every log") == "every log"


def test_no_two_sealings_are_alike_and_one_data_key_serves_a_tenant(connection, open_reader):
    mine, reader = row(), open_reader(connection)
    first, second = reader.encrypt(KEY, **mine), reader.encrypt(KEY, **mine)
    assert first.split(".")[1] == second.split(".")[1]
    assert first.split(".")[2] != second.split(".")[2]
    neighbour = reader.encrypt(KEY, **row())
    assert neighbour.split(".")[1] != first.split(".")[1]


def test_a_turn_does_not_wait_for_vault_but_what_is_not_in_memory_fails_loudly(tmp_path, installation):
    own = OpenBao(tmp_path / "vault")
    try:
        here = Installation(own, tmp_path, dict(installation.environment))
        here.environment |= {
            "SA01_VAULT_ADDR": own.address,
            "SA01_VAULT_OPERATOR_TOKEN_FILE": str(own.operator_token_file),
        }
        assert here.bootstrap().returncode == 0
        reader = reader_of(here)
        mine = row()
        sealed = reader.encrypt(KEY, **mine)
        own.stop()
        assert reader.decrypt(sealed, **mine) == KEY
        assert reader.decrypt(reader.encrypt("another", **mine), **mine) == "another"
        with pytest.raises(VaultUnreachable):
            reader.encrypt(KEY, **row())
        own.start()
        reader.close()
    finally:
        own.stop()


def reader_of(here: Installation):
    return SecretReader(
        VaultConnection(
            address=here.environment["SA01_VAULT_ADDR"],
            auth="approle",
            mount=here.environment["SA01_VAULT_MOUNT"],
            role_id=(here.folder / "login" / "app.role-id").read_text().strip(),
            secret_id_file=Path(here.folder, "login", "app.secret-id"),
        )
    )


def test_after_a_rotation_old_secrets_open_and_new_ones_are_under_the_new_version(
    installation: Installation,
    connection,
    open_reader,
    transit,
):
    mine, before = row(), open_reader(connection)
    old = before.encrypt(KEY, **mine)

    rotated = installation.manage("rotate_tenant_key")

    assert (rotated.returncode, "has version 2" in rotated.stdout) == (0, True), rotated.stderr
    after = open_reader(connection)
    new = after.encrypt(KEY, **mine)
    assert [version(sealed) for sealed in (old, new)] == ["v1", "v2"]
    assert after.decrypt(old, **mine) == before.decrypt(new, **mine) == KEY

    engine, mount = transit
    engine.update_key_configuration("somaagent", min_decryption_version=2, mount_point=mount)
    with pytest.raises(SealBroken):
        open_reader(connection).decrypt(old, **mine)
    assert open_reader(connection).decrypt(new, **mine) == KEY


def version(sealed: str) -> str:
    return base64.b64decode(sealed.split(".")[1], altchars=b"-_").decode().split(":")[1]


def test_the_application_may_make_and_open_data_keys_and_nothing_more(
    vault: OpenBao, installation: Installation, transit
):
    client, mount = vault.client(), installation.environment["SA01_VAULT_MOUNT"]
    engine, at = transit
    key = engine.read_key("somaagent", mount_point=at)["data"]
    assert (key["type"], key["derived"], key["exportable"]) == ("aes256-gcm96", True, False)
    uses = ("datakey/plaintext", "decrypt", "encrypt", "rewrap", "keys", "export/encryption-key")
    paths = [f"{at}/{use}/somaagent" for use in uses]
    for role, allowed in (("app", 2), ("owner", 0)):
        token = client.auth.token.create(policies=[f"{mount}-{role}"], no_default_policy=True)["auth"]
        can = client.sys.get_capabilities(paths=paths, token=token["client_token"])["data"]
        expected = [["update"]] * allowed + [["deny"]] * (len(paths) - allowed)
        assert [can[path] for path in paths] == expected


def test_a_vault_of_an_earlier_version_is_told_of_and_mended(
    vault: OpenBao,
    installation: Installation,
    connection,
    open_reader,
):
    client, mount = vault.client(), installation.environment["SA01_VAULT_MOUNT"]
    policy = client.sys.read_policy(f"{mount}-app")["data"]["rules"]
    earlier = "\n".join(line for line in policy.splitlines() if "transit" not in line)
    client.sys.create_or_update_policy(f"{mount}-app", earlier)
    with pytest.raises(VaultDenied, match="does not let this process use the key"):
        open_reader(connection).encrypt(KEY, **row())
    client.sys.disable_secrets_engine(f"{mount}-transit")
    client.sys.create_or_update_policy(f"{mount}-app", policy)
    with pytest.raises(TransitMissing, match="Vault has no transit key"):
        open_reader(connection).encrypt(KEY, **row())
    assert transit_check(installation)["state"] == "problem"

    mended = installation.bootstrap()

    assert f"mounted transit at {mount}-transit" in mended.stdout
    assert f"made the key {mount}-transit/somaagent" in mended.stdout
    assert installation.bootstrap().stdout == "Vault was ready: nothing changed.\n"
    assert transit_check(installation)["state"] == "ok"
    mine, reader = row(), open_reader(connection)
    assert reader.decrypt(reader.encrypt(KEY, **mine), **mine) == KEY


def transit_check(installation: Installation) -> dict[str, str]:
    checked = installation.manage("check_config", "--format", "json")
    checks = json.loads(checked.stdout)["checks"]
    return next(check for check in checks if check["name"] == "Vault transit")


def test_every_failure_is_of_the_one_kind_that_code_catches(connection, open_reader):
    assert open_reader(connection).Error is VaultError
    assert issubclass(SealBroken, VaultError)
