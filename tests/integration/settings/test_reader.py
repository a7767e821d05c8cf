"""The process's reader of secrets: what it caches, how it keeps its token, what it does in a child."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from settings.vault import (
    KeyMissing,
    PathMissing,
    SecretMissing,
    SecretReader,
    VaultConnection,
    VaultDenied,
    VaultError,
    VaultLoginRefused,
    VaultUnreachable,
)
from tests.integration.settings.openbao import HOST, OpenBao, free_port


def short_tokens(vault: OpenBao, connection: VaultConnection, ttl: int, most: int) -> None:
    """Makes the AppRole give tokens of *ttl* seconds that can be prolonged up to *most*."""
    vault.client().auth.approle.create_or_update_approle(
        f"{connection.mount}-app", token_ttl=ttl, token_max_ttl=most
    )


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def token_of(reader: SecretReader) -> str:
    return str(reader._session._client.token)


def test_a_secret_is_read_once_and_what_is_missing_is_looked_for_again(
    vault: OpenBao, connection: VaultConnection, open_reader
):
    reader, kv = open_reader(connection), vault.client().secrets.kv.v2
    kv.create_or_update_secret("models/local", {"api_key": "first"}, mount_point=connection.mount)
    assert reader.read("models/local", "api_key") == "first"

    kv.create_or_update_secret("models/local", {"api_key": "second"}, mount_point=connection.mount)
    assert reader.read("models/local", "api_key") == "first"
    reader.forget("models/local")
    assert reader.read("models/local", "api_key") == "second"

    with pytest.raises(PathMissing, match="holds nothing under"):
        reader.read("models/other", "api_key")
    kv.create_or_update_secret("models/other", {"note": "no key yet"}, mount_point=connection.mount)
    with pytest.raises(KeyMissing, match="has no key api_key"):
        reader.read("models/other", "api_key")
    kv.create_or_update_secret("models/other", {"api_key": "now"}, mount_point=connection.mount)
    assert reader.read("models/other", "api_key") == "now"


def test_the_application_may_read_its_own_and_nothing_else(connection: VaultConnection, open_reader):
    reader = open_reader(connection)

    assert reader.read("core", "secret_key")
    assert reader.read("database/soma_app", "password")
    with pytest.raises(VaultDenied, match="does not let this process read"):
        reader.read("database/soma_owner", "password")
    assert set(reader.lease().policies) == {f"{connection.mount}-app"}
    with pytest.raises(VaultDenied):
        open_reader(replace(connection, mount="nowhere")).read("core", "secret_key")


def test_every_failure_is_a_vault_error_that_says_how_to_mend_it(connection: VaultConnection, open_reader):
    gone = replace(connection, address=f"http://{HOST}:{free_port()}")
    cases: list[tuple[VaultConnection, str, type[VaultError]]] = [
        (gone, "core", VaultUnreachable),
        (replace(connection, role_id="nobody"), "core", VaultLoginRefused),
        (connection, "database/soma_owner", VaultDenied),
        (connection, "models/none", SecretMissing),
    ]
    for where, path, kind in cases:
        reader = open_reader(where)
        with pytest.raises(kind) as failed:
            reader.read(path, "password")
        assert isinstance(failed.value, reader.Error)
        assert failed.value.message
        assert failed.value.mend


def test_the_token_outlives_its_first_life_also_in_a_child_of_a_fork(
    vault: OpenBao, connection: VaultConnection, open_reader
):
    short_tokens(vault, connection, ttl=4, most=3600)
    reader = open_reader(connection)
    reader.read("core", "secret_key")
    first = token_of(reader)
    results, answer = os.pipe()

    with reader._lock:  # a fork while another thread holds the lock must not leave it locked in the child
        child = os.fork()
        if child == 0:
            try:
                threads_before = threading.active_count()
                reader.read("core", "secret_key")
                time.sleep(6)
                alive, password = reader.lease().seconds > 0, reader.read("database/soma_app", "password")
                told = f"{threads_before} {threading.active_count()} {alive} {bool(password)}"
            except BaseException as error:  # noqa: BLE001  told to the parent, which fails the test
                told = repr(error)
            os.write(answer, told.encode())
            os._exit(0)
    os.close(answer)
    with os.fdopen(results) as told_by_child:
        told = told_by_child.read()
    os.waitpid(child, 0)

    assert told == "1 2 True True"
    assert token_of(reader) == first
    assert reader.lease().seconds > 0
    assert reader.read("database/soma_app", "password")
    left = reader.token_seconds_left()
    assert left is not None
    assert 0 < left <= 4


def test_at_the_end_that_its_role_set_the_process_logs_in_again(
    vault: OpenBao, connection: VaultConnection, open_reader
):
    short_tokens(vault, connection, ttl=2, most=4)
    reader = open_reader(connection)
    reader.read("core", "secret_key")
    first = token_of(reader)

    wait_for(lambda: token_of(reader) != first)
    assert reader.lease().seconds > 0
    assert reader.last_error() == ""


def test_a_revoked_token_is_replaced_by_the_renewal_and_by_a_read(
    vault: OpenBao, connection: VaultConnection, open_reader
):
    reader = open_reader(connection)  # its token lives an hour: only a read finds out
    reader.read("core", "secret_key")
    vault.client().auth.token.revoke(token_of(reader))
    assert reader.read("database/soma_app", "password")

    short_tokens(vault, connection, ttl=2, most=3600)
    renewing = open_reader(connection)
    renewing.read("core", "secret_key")
    first = token_of(renewing)
    vault.client().auth.token.revoke(first)
    wait_for(lambda: token_of(renewing) != first)
    assert renewing.lease().seconds > 0


def test_while_vault_is_away_the_renewal_goes_on_trying(
    vault: OpenBao, connection: VaultConnection, open_reader
):
    short_tokens(vault, connection, ttl=2, most=3600)
    reader = open_reader(connection)
    known = reader.read("core", "secret_key")
    vault.stop()
    try:
        wait_for(lambda: "unreachable" in reader.last_error())
        assert reader.read("core", "secret_key") == known  # what is cached needs no Vault
    finally:
        vault.start()
    wait_for(lambda: reader.last_error() == "")
    assert reader.lease().seconds > 0


def test_many_threads_share_one_login(connection: VaultConnection, open_reader):
    reader = open_reader(connection)
    read: list[str] = []
    threads = [
        threading.Thread(target=lambda: read.append(reader.read("core", "secret_key"))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(read)) == 1
    assert len(read) == 20
    assert sum(thread.name == "vault-token" for thread in threading.enumerate()) >= 1


def test_a_token_file_is_read_again_when_its_token_cannot_be_prolonged(
    vault: OpenBao, connection: VaultConnection, open_reader, tmp_path: Path
):
    def new_token() -> str:
        made = vault.client().auth.token.create(
            policies=[f"{connection.mount}-app"], ttl="2s", renewable=False
        )
        return str(made["auth"]["client_token"])

    file = tmp_path / "token"
    file.write_text(new_token())
    reader = open_reader(replace(connection, auth="token_file", token_file=file))
    reader.read("core", "secret_key")
    fresh = new_token()
    file.write_text(fresh + "\n")

    wait_for(lambda: token_of(reader) == fresh)
    assert reader.read("database/soma_app", "password")


def test_nothing_secret_is_in_what_a_reader_prints(connection: VaultConnection, open_reader):
    reader = open_reader(connection)
    password = reader.read("database/soma_app", "password")

    for text in (repr(reader), repr(vars(reader)), repr(reader._session), repr(connection)):
        assert password not in text
        assert token_of(reader) not in text
    quoted = f"FATAL: {password!r} <{token_of(reader)}>"
    assert reader.masked(quoted) == "FATAL: '••••' <••••>"


def test_hvac_s_own_environment_is_not_looked_at(
    connection: VaultConnection, open_reader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("VAULT_TOKEN", "s.elsewhere")
    monkeypatch.setenv("VAULT_ADDR", f"http://{HOST}:{free_port()}")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".vault-token").write_text("s.elsewhere")

    with pytest.raises(VaultLoginRefused):
        open_reader(replace(connection, role_id="nobody")).read("core", "secret_key")
    assert open_reader(connection).read("core", "secret_key")
