"""Both modes are the same program; what may differ is a list."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# Settings that a mode may give another value. Everything else is the same in both.
MAY_DIFFER = {
    "DEPLOYMENT_MODE",
    "SETTINGS_MODULE",
    "SECURE_HSTS_SECONDS",
    "MANY_TENANTS",
    "PUBLISHED_SETTINGS",  # what operators are told of all of these
}
SAME_ENVIRONMENT = {
    "SA01_SECURE_COOKIES": "true",
    "SA01_PUBLIC_URL": "https://agents.example.org",
    "SA01_ALLOWED_HOSTS": "agents.example.org",
}


def describe(mode: str) -> dict:
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.describe_mode"],
        env={**environment, **SAME_ENVIRONMENT, "SA01_DEPLOYMENT_MODE": mode},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def modes() -> tuple[dict, dict]:
    return describe("STANDALONE"), describe("SAAS")


@pytest.mark.parametrize("part", ["apps", "models", "migrations", "routes", "openapi"])
def test_both_modes_have_the_same(modes, part):
    standalone, saas = modes
    assert standalone[part]
    assert standalone[part] == saas[part]


def test_only_listed_settings_differ(modes):
    standalone, saas = (mode["settings"] for mode in modes)
    differing = {name for name in standalone | saas if standalone.get(name) != saas.get(name)}
    assert differing == MAY_DIFFER


def test_one_organisation_or_many(modes):
    standalone, saas = (mode["settings"] for mode in modes)
    assert (standalone["MANY_TENANTS"], saas["MANY_TENANTS"]) == (False, True)
    assert (standalone["SECURE_HSTS_SECONDS"], saas["SECURE_HSTS_SECONDS"]) == (0, 31_536_000)
