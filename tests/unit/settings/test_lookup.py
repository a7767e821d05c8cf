"""Where a setting is looked up, and what is said when it is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from settings.environment import owner_environment
from settings.loader import State, load
from settings.problems import ConfigurationError, describe
from settings.registry import REGISTRY, Mode, by_name
from tests.unit.settings.sound import SAAS, SOUND, complaints, offline


def test_a_sound_environment_gives_typed_values_and_documented_defaults():
    found = offline(SOUND, SA01_ALLOWED_HOSTS="agents.example.org, other.example.org", SA01_DEBUG="yes")

    assert found.problems == []
    assert found.value("SA01_GATEWAY_PORT") == 20080
    assert found.value("SA01_ALLOWED_HOSTS") == ["agents.example.org", "other.example.org"]
    assert found.value("SA01_DEBUG") is True
    assert found.value("SA01_VAULT_SECRET_ID_FILE") == Path("/run/secrets/app.secret-id")
    assert found.value("SA01_DB_PORT") == 5432
    assert found.value("SA01_OTLP_ENDPOINT") is None
    assert offline(SAAS).problems == []


def test_everything_that_is_missing_is_named_at_once_with_its_source_and_the_command_that_mends_it():
    empty = load({}, online=False)

    required = {setting.name for setting in REGISTRY if setting.required and not setting.secret}
    assert required <= set(complaints(empty))
    assert complaints(empty)["SA01_DEPLOYMENT_MODE"] == "is not set; it takes STANDALONE or SAAS."
    host = next(problem for problem in empty.problems if problem.setting == "SA01_DB_HOST")
    assert host.source == "process environment"
    assert host.mend == "export SA01_DB_HOST=postgres"
    text = describe(empty.problems)
    assert all(problem.setting in text and problem.mend in text for problem in empty.problems)


def test_a_user_at_kafka_needs_a_name_and_a_password_and_nobody_else_does():
    kept = {"SA01_KAFKA_BOOTSTRAP": "kafka:9093", "SA01_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
    rows = {row.name: row.state for row in offline(SOUND).rows}
    assert rows["SA01_KAFKA_PASSWORD"] == State.NOT_SET
    found = offline(SOUND, **kept)
    told = complaints(found)
    assert told == {"SA01_KAFKA_USERNAME": "is not set; SA01_KAFKA_SECURITY_PROTOCOL=SASL_SSL needs it."}
    assert {row.name: row.state for row in found.rows}["SA01_KAFKA_PASSWORD"] == State.NOT_LOOKED_UP
    named = {**kept, "SA01_KAFKA_USERNAME": "somaagent"}
    assert complaints(offline(SOUND, **named)) == {}
    assert "secret" in complaints(offline(SOUND, **named, SA01_KAFKA_PASSWORD="typed"))["SA01_KAFKA_PASSWORD"]
    open_to_all = {**named, "SA01_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}
    assert complaints(offline(SOUND, **open_to_all)) == {}
    plain = offline(SOUND, **open_to_all, SA01_KAFKA_SASL_MECHANISM="PLAIN")
    assert "for everybody" in complaints(plain)["SA01_KAFKA_SECURITY_PROTOCOL"]


def test_an_empty_text_is_as_good_as_none():
    found = offline(SOUND, SA01_DB_HOST="", SA01_OTLP_ENDPOINT="", SA01_DB_PORT=" ")

    assert complaints(found) == {"SA01_DB_HOST": "is set, but empty; it takes a host name or an address."}
    assert found.value("SA01_DB_PORT") == 5432


def test_no_secret_and_no_host_has_a_default():
    for setting in REGISTRY:
        if setting.secret or setting.kind.name == "host" or setting.name.endswith(("_ADDR", "_URL")):
            assert setting.default is None, setting.name


def test_the_file_and_the_process_environment_are_one_set_of_names(tmp_path: Path):
    file = tmp_path / "environment"
    file.write_text("# a comment\n\nSA01_DB_HOST=db.of.the.file\nexport SA01_DB_NAME='quoted name'\n")
    found = offline(SOUND, SA01_ENV_FILE=str(file), SA01_DB_HOST=None, SA01_DB_NAME=None)

    assert found.problems == []
    assert (found.value("SA01_DB_HOST"), found.value("SA01_DB_NAME")) == ("db.of.the.file", "quoted name")
    sources = {row.name: row.source for row in found.rows}
    assert sources["SA01_DB_HOST"] == str(file)
    assert sources["SA01_DB_USER"] == "process environment"
    assert sources["SA01_DB_PORT"] == "default"


@pytest.mark.parametrize("in_file", ["db.example.org", "another.example.org"])
def test_a_name_in_both_is_an_error_also_when_both_say_the_same(tmp_path: Path, in_file: str):
    file = tmp_path / "environment"
    file.write_text(f"SA01_DB_HOST={in_file}\n")
    found = offline(SOUND, SA01_ENV_FILE=str(file))

    assert list(complaints(found)) == ["SA01_DB_HOST"]
    assert "both in the process environment and in" in complaints(found)["SA01_DB_HOST"]
    assert found.problems[0].mend == "unset SA01_DB_HOST"


def test_what_a_file_says_that_cannot_be_understood_is_told_by_line_and_never_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    file = tmp_path / "environment"
    lines = [
        "hunter2 is my password",
        "PATH=/bin",
        "SA01_ENV_FILE=/x",
        "SA01_LOG_LEVEL=INFO",
        "SA01_LOG_LEVEL=DEBUG",
    ]
    file.write_text("\n".join(lines))
    found = offline(SOUND, SA01_ENV_FILE=str(file))

    said = complaints(found)
    assert said["line 1"] == "is neither NAME=value nor a comment."
    assert "is not a SA01_* name" in said["PATH"]
    assert "cannot name a file from inside" in said["SA01_ENV_FILE"]
    assert said["SA01_LOG_LEVEL"] == "stands on line 4 and again on line 5."
    assert "hunter2" not in describe(found.problems) + caplog.text


def test_a_file_that_cannot_be_read_is_one_problem_among_the_others(tmp_path: Path):
    found = offline(SOUND, SA01_ENV_FILE=str(tmp_path / "gone"), SA01_DB_HOST=None)

    assert set(complaints(found)) == {"SA01_ENV_FILE", "SA01_DB_HOST"}
    assert "No such file" in complaints(found)["SA01_ENV_FILE"]
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in complaints(offline(SOUND, SA01_ENV_FILE=str(tmp_path / "binary")))["SA01_ENV_FILE"]


def test_a_secret_in_the_environment_is_an_error_and_is_not_shown(tmp_path: Path):
    file = tmp_path / "environment"
    file.write_text("SA01_SECRET_KEY=hunter2\n")
    found = offline(SOUND, SA01_ENV_FILE=str(file), SA01_DB_PASSWORD="hunter2")

    assert set(complaints(found)) == {"SA01_DB_PASSWORD", "SA01_SECRET_KEY"}
    mends = {problem.setting: problem.mend for problem in found.problems}
    assert (
        mends["SA01_DB_PASSWORD"] == "unset SA01_DB_PASSWORD && python manage.py secret set SA01_DB_PASSWORD"
    )
    assert mends["SA01_SECRET_KEY"].startswith(f"sed -i '/^SA01_SECRET_KEY=/d' {file}")
    assert "hunter2" not in describe(found.problems) + str(found.rows) + repr(found.values)


def test_an_unknown_name_is_an_error_that_names_the_nearest_known_one():
    found = offline(
        SOUND, SA01_GATEWAY_PORT=None, SA01_GATEWAY_PROT="20080", sa01_debug="true", SA01_ZZZZZZ="hunter2"
    )

    said = complaints(found)
    assert "is not set" in said["SA01_GATEWAY_PORT"]
    assert (
        said["SA01_GATEWAY_PROT"]
        == "is not the name of a setting; the nearest known name is SA01_GATEWAY_PORT."
    )
    assert said["sa01_debug"].endswith("the nearest known name is SA01_DEBUG.")
    assert said["SA01_ZZZZZZ"] == "is not the name of a setting."
    assert [row.name for row in found.rows if row.state is State.UNKNOWN] == [
        "SA01_GATEWAY_PROT",
        "SA01_ZZZZZZ",
        "sa01_debug",
    ]
    assert "hunter2" not in str(found.rows)


def test_a_setting_of_the_other_mode_is_an_error():
    only_saas = replace(by_name()["SA01_OTLP_ENDPOINT"], modes=frozenset({Mode.SAAS}), required=True)
    registry = tuple(only_saas if setting.name == only_saas.name else setting for setting in REGISTRY)

    standalone = load(
        {**SOUND, "SA01_OTLP_ENDPOINT": "http://collector:4318"}, online=False, registry=registry
    )
    assert complaints(standalone) == {"SA01_OTLP_ENDPOINT": "has no meaning in STANDALONE."}
    assert complaints(load(SOUND, online=False, registry=registry)) == {}
    assert "is not set" in complaints(load(SAAS, online=False, registry=registry))["SA01_OTLP_ENDPOINT"]


@pytest.mark.parametrize(
    ("auth", "needed"),
    [
        ("approle", ["SA01_VAULT_ROLE_ID", "SA01_VAULT_SECRET_ID_FILE"]),
        ("kubernetes", ["SA01_VAULT_KUBERNETES_ROLE"]),
        ("token_file", ["SA01_VAULT_TOKEN_FILE"]),
    ],
)
def test_each_way_to_log_in_needs_its_own_settings(auth: str, needed: list[str]):
    found = offline(SOUND, SA01_VAULT_AUTH=auth, SA01_VAULT_ROLE_ID=None, SA01_VAULT_SECRET_ID_FILE=None)

    assert complaints(found) == dict.fromkeys(needed, f"is not set; SA01_VAULT_AUTH={auth} needs it.")


def test_a_settings_module_of_the_other_mode_is_an_error():
    found = offline(SOUND, DJANGO_SETTINGS_MODULE="settings.saas")

    assert complaints(found) == {
        "SA01_DEPLOYMENT_MODE": "is STANDALONE, but DJANGO_SETTINGS_MODULE=settings.saas is for SAAS."
    }


def test_the_migrating_process_logs_in_as_the_owner_and_has_no_file_any_more(tmp_path: Path):
    file = tmp_path / "environment"
    file.write_text("SA01_VAULT_OWNER_ROLE_ID=owner-role\nSA01_VAULT_OWNER_SECRET_ID_FILE=/run/owner\n")
    owner = owner_environment({**SOUND, "SA01_ENV_FILE": str(file), "HOME": "/home/x"})

    assert owner["SA01_DB_USER"] == "soma_owner"
    assert (owner["SA01_VAULT_ROLE_ID"], owner["SA01_VAULT_SECRET_ID_FILE"]) == ("owner-role", "/run/owner")
    assert "SA01_ENV_FILE" not in owner
    assert owner["HOME"] == "/home/x"
    assert load(owner, online=False).problems == []


def test_a_configuration_error_ends_a_process_with_status_1_and_the_list():
    problems = load({}, online=False).problems
    with pytest.raises(SystemExit) as ended:
        raise ConfigurationError(problems)
    assert ended.value.code == describe(problems)  # text as its code: Python prints it and exits with 1
