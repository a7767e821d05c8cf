"""``check_config`` and the other commands without a network, as an operator or CI calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from settings.example import env_example, reference
from settings.registry import REGISTRY, Mode
from tests.unit.settings.sound import ROOT, SOUND


def manage(*command: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        input=stdin,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"], **environment},
    )


@pytest.mark.parametrize("mode", list(Mode))
def test_the_examples_are_what_the_registry_says_and_are_sound(mode: Mode):
    path = ROOT / "infra" / mode.lower() / ".env.example"
    assert path.read_text() == env_example(mode) == manage("check_config", "--env-example", mode).stdout

    checked = manage("check_config", "--offline", "--format", "json", "--env-file", str(path))
    document = json.loads(checked.stdout)
    assert (checked.returncode, document["ok"], document["mode"]) == (0, True, mode.value), checked.stdout
    assert {row["name"] for row in document["settings"]} == {setting.name for setting in REGISTRY}
    states = {check["name"]: check["state"] for check in document["checks"]}
    assert states.pop("Vault transport") == "warning"
    assert states.pop("Policy of tools") == "ok"
    assert set(states.values()) == {"not run"}


def test_the_documentation_has_the_registry_s_table():
    assert reference() in (ROOT / "docs" / "configuration.md").read_text()
    assert all(setting.doc.endswith(".") for setting in REGISTRY)


def test_the_json_lists_every_problem_and_the_status_says_so():
    environment = {**SOUND, "SA01_GATEWAY_PROT": SOUND["SA01_GATEWAY_PORT"], "SA01_DB_PASSWORD": "hunter2"}
    del environment["SA01_GATEWAY_PORT"]
    checked = manage("check_config", "--offline", "--format", "json", **environment)

    document = json.loads(checked.stdout)
    assert checked.returncode == 1
    assert document["ok"] is False
    assert [problem["setting"] for problem in document["problems"]] == [
        "SA01_GATEWAY_PORT", "SA01_DB_PASSWORD", "SA01_GATEWAY_PROT",
    ]  # fmt: skip
    assert all(
        problem["source"] and problem["message"] and problem["mend"] for problem in document["problems"]
    )
    states = {row["name"]: row["state"] for row in document["settings"]}
    assert states["SA01_GATEWAY_PORT"] == "missing"
    assert states["SA01_GATEWAY_PROT"] == "unknown"
    assert states["SA01_SECRET_KEY"] == "not looked up"
    assert "hunter2" not in checked.stdout + checked.stderr


def test_the_table_shows_every_setting_and_masks_secrets():
    checked = manage("check_config", "--offline", **SOUND)

    assert checked.returncode == 0, checked.stdout
    assert all(setting.name in checked.stdout for setting in REGISTRY)
    assert "••••" in checked.stdout
    assert "The configuration is sound." in checked.stdout


def test_a_file_is_checked_alone(tmp_path: Path):
    file = tmp_path / "environment"
    file.write_text("".join(f"{name}={text}\n" for name, text in SOUND.items()))

    assert (
        manage("check_config", "--offline", "--env-file", str(file), SA01_DB_HOST="ignored").returncode == 0
    )


def test_a_command_that_cannot_run_says_so_with_status_2(tmp_path: Path):
    for command in (
        ("check_config", "--offline", "--env-file", str(tmp_path / "gone")),
        ("check_config", "--format", "xml"),
        ("secret",),
        ("secret", "set"),
        ("bootstrap_vault", "--nonsense"),
    ):
        ended = manage(*command, **SOUND)
        assert ended.returncode == 2, command
        assert ended.stderr
        assert "Traceback" not in ended.stderr


def test_operators_commands_name_what_they_lack():
    ended = manage("bootstrap_vault")

    assert ended.returncode == 1
    for name in ("SA01_VAULT_ADDR", "SA01_VAULT_OPERATOR_TOKEN_FILE", "SA01_DB_USER", "SA01_DB_OWNER_USER"):
        assert name in ended.stderr
    assert "SA01_GATEWAY_PORT" not in ended.stderr


def test_help_lists_the_commands_of_the_settings_also_without_a_configuration():
    overview = manage("help")
    for command in ("check_config", "secret", "bootstrap_vault"):
        assert command in overview.stdout
        help_of_it = manage("help", command)
        assert help_of_it.returncode == 0
        assert f"usage: manage.py {command}" in help_of_it.stdout


ENTRY_POINTS = {
    "manage.py": ["manage.py", "migrate"],
    "gunicorn": ["-m", "gunicorn", "-c", "somaagent/web/gunicorn.py", "somaagent.asgi:application"],
    "celery": ["-m", "celery", "-A", "somaagent.celery", "worker"],
    "orchestrator": ["-m", "somaagent.orchestrator", "--dry-run"],
    "a settings module": ["-c", "from django.conf import settings; settings.DEBUG"],
}


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_without_a_known_mode_every_entry_point_ends_with_the_allowed_values(entry_point: str):
    for mode in ("", "PRODUCTION"):
        environment = {**SOUND, "SA01_DEPLOYMENT_MODE": mode, "SA01_VAULT_BOOT_SECONDS": "0"}
        if entry_point == "a settings module":
            environment["DJANGO_SETTINGS_MODULE"] = "settings.saas"
        ended = subprocess.run(
            [sys.executable, *ENTRY_POINTS[entry_point]],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": os.environ["PATH"], **environment},
        )
        assert ended.returncode == 1, ended.stderr
        said = ended.stderr + ended.stdout  # a dry run reports on standard output
        assert "SA01_DEPLOYMENT_MODE" in said
        assert "STANDALONE or SAAS" in said
        assert "Traceback" not in said
