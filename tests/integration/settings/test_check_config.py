"""``check_config`` on a whole stack, sound and spoilt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from psycopg import sql

from tests.stack import RunningStack

ROOT = Path(__file__).resolve().parents[3]


def check(environment: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    """The exit status of ``check_config`` in *environment*, and its document."""
    done = subprocess.run(
        [sys.executable, "manage.py", "check_config", "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"], **environment},
    )
    return done.returncode, json.loads(done.stdout)


def problems(document: dict[str, Any]) -> dict[str, str]:
    return {problem["setting"]: problem["message"] for problem in document["problems"]}


def test_a_stack_that_runs_is_sound(stack: RunningStack):
    status, document = check(stack.environment)

    assert (status, document["problems"]) == (0, [])
    states = {each["name"]: each["state"] for each in document["checks"]}
    assert {
        states[name]
        for name in ("Vault token", "Vault transit", "Database", "Valkey", "Migrations", "Credential files")
    } == {"ok"}


def test_a_role_that_row_level_security_does_not_bind_is_refused(stack: RunningStack):
    status, document = check(stack.owner_environment)
    assert status == 1
    assert "owns" in problems(document)["SA01_DB_USER"]

    role = sql.Identifier(stack.environment["SA01_DB_USER"])
    with stack.superuser() as connection:
        connection.execute(sql.SQL("ALTER ROLE {} BYPASSRLS").format(role))
        try:
            status, document = check(stack.environment)
        finally:
            connection.execute(sql.SQL("ALTER ROLE {} NOBYPASSRLS").format(role))
    assert status == 1
    assert "passes by row-level security" in problems(document)["SA01_DB_USER"]


def test_a_migration_that_is_not_applied_is_named(stack: RunningStack):
    with stack.superuser() as connection:
        lost = "DELETE FROM django_migrations WHERE app = 'sessions' RETURNING app, name, applied"
        rows = connection.execute(lost).fetchall()
        try:
            status, document = check(stack.environment)
        finally:
            for row in rows:
                connection.execute(
                    "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)", row
                )
    assert status == 1
    assert problems(document) == {"SA01_DB_NAME": "1 migrations are not applied: sessions.0001_initial"}


def test_the_file_that_the_stack_writes_is_a_whole_environment(stack: RunningStack):
    file = str(stack.data_dir / "environment")
    assert check({"SA01_ENV_FILE": file})[0] == 0

    name, text = "SA01_DB_HOST", stack.environment["SA01_DB_HOST"]
    status, document = check({"SA01_ENV_FILE": file, name: text})
    assert status == 1
    assert list(problems(document)) == [name]
