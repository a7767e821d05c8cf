"""Nobody but their owner gets at the embedded servers and their files."""

from __future__ import annotations

import ipaddress
import stat

import psutil
import psycopg
import pytest
import redis
import requests

from tests.integration.embedded.house import House


def test_every_file_is_its_owners_alone(house: House):
    house.write("a note")
    data_dir = house.stack.data_dir
    paths = [data_dir, *data_dir.rglob("*")]
    assert len(paths) > 500
    shared = {str(path): oct(path.lstat().st_mode) for path in paths if path.lstat().st_mode & 0o077}
    assert shared == {}
    executable = [path for path in paths if path.is_file() and path.lstat().st_mode & stat.S_IXUSR]
    assert executable == []


def test_nothing_listens_beyond_the_loopback_interface(house: House):
    listening = [
        connection.laddr
        for process in house.family()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) == 5  # OpenBao's two, PostgreSQL's, Valkey's, the model's
    assert all(ipaddress.ip_address(address.ip).is_loopback for address in listening)


def test_no_secret_is_in_an_argument_an_environment_or_the_environment_file(house: House):
    token = (house.stack.data_dir / "openbao" / "root-token").read_text().strip()
    secrets = [
        token,
        house.secret("core", "secret_key"),
        house.secret("core", "valkey_password"),
        house.secret("database/somaagent_app", "password"),
        house.secret("database/somaagent_owner", "password"),
        house.secret("models/local", "api_key"),
    ]
    said = [" ".join(process.cmdline()) + str(process.environ()) for process in house.family()]
    said.append((house.stack.data_dir / "environment").read_text())
    said += [path.read_text() for path in house.stack.data_dir.glob("*.log")]
    assert [secret for secret in secrets for text in said if secret in text] == []
    assert not any(name.startswith("SA01_") for process in house.family() for name in process.environ())


def test_the_database_lets_nobody_in_without_the_right_password(house: House):
    for user, password in (
        ("somaagent_app", "not it"),
        ("somaagent_owner", ""),
        ("somaagent_app", house.secret("database/somaagent_owner", "password")),
        ("postgres", ""),
        ("somaagent_runtime", ""),
    ):
        with pytest.raises(psycopg.OperationalError, match=r"authentication failed|no password|rejects"):
            house.database(user, password)
    house.database("somaagent_app").close()


def test_the_applications_role_owns_nothing_and_passes_no_policy_by(house: House):
    with house.database("somaagent_app") as connection:
        facts = connection.execute(
            "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles"
            " WHERE rolname = current_user"
        ).fetchone()
        assert facts == (False, False, False, False)
        assert connection.execute("SELECT pg_has_role('somaagent_runtime', 'MEMBER')").fetchone() == (True,)
        owners = connection.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        ).fetchone()
        assert owners == ("somaagent_owner",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE mine (id int)")
        assert connection.execute("SELECT '[1,2]'::vector <-> '[1,3]'::vector").fetchone() == (1.0,)


def test_a_password_changed_in_vault_is_the_databases_after_the_next_configuration(house: House):
    before = house.secret("database/somaagent_app", "password")
    house.vault().secrets.kv.v2.create_or_update_secret(
        "database/somaagent_app", {"password": 'changed: it\'s "new" \\'}, mount_point="somaagent"
    )
    house.stack.postgres.configure()
    house.database("somaagent_app").close()
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        house.database("somaagent_app", before)


def test_valkey_answers_only_to_its_password(house: House):
    assert house.valkey().ping()
    with pytest.raises(redis.AuthenticationError):
        house.valkey("not it").ping()
    with pytest.raises(redis.AuthenticationError):
        house.valkey("").ping()


def test_the_model_answers_to_its_key_and_to_nobody_else(house: House):
    url = house.stack.environment()["SA01_LOCAL_MODEL_URL"] + "/chat/completions"
    question = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert requests.post(url, json=question, headers=headers, timeout=10).status_code == 401
    key = {"Authorization": f"Bearer {house.secret('models/local', 'api_key')}"}
    answer = requests.post(url, json=question, headers=key, timeout=60).json()
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["model"] == "smollm2-135m-instruct"
    stream = requests.post(url, json=question | {"stream": True}, headers=key, timeout=60)
    assert stream.text.startswith("data: ")
    assert stream.text.rstrip().endswith("data: [DONE]")
