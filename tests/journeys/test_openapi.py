"""The OpenAPI document says what the gateway does: generated requests find no 5xx, nothing undocumented."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import requests

from tests.journeys.gateway import Gateway
from tests.stack import RunningStack
from tests.tls import Certificate

Fuzz: TypeAlias = Callable[..., None]

# The longest story there is: thousands of requests, each over a connection of its own where it is HTTPS.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(400)]

SCHEMATHESIS = Path(sys.executable).with_name("st")
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
    "unsupported_method",
]


@pytest.fixture
def fuzz(gateway: Gateway, stack: RunningStack) -> Fuzz:
    """Generated requests by whose the key is."""
    return functools.partial(_fuzz, gateway, stack.certificate)


def _fuzz(gateway: Gateway, trusted: Certificate, key: str, *more: str) -> None:
    # The first look takes longest, and schemathesis waits for ten seconds.
    requests.get(f"{gateway.url}/api/v1/openapi.json", timeout=60).raise_for_status()
    done = subprocess.run(
        [
            str(SCHEMATHESIS),
            "run",
            f"{gateway.url}/api/v1/openapi.json",
            *more,
            f"--header=Authorization: Bearer {key}",
            f"--checks={','.join(CHECKS)}",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=5",
            "--generation-database=none",
            "--seed=1",
            "--request-timeout=20",
            "--warnings=off",
            "--no-color",
        ],
        # It reads all that is trusted anew for each request: one certificate, not all of a machine's.
        env=os.environ | {"REQUESTS_CA_BUNDLE": str(trusted.certificate)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_generated_requests_find_nothing_undocumented(gateway: Gateway, fuzz: Fuzz):
    # Health is 503 without an orchestrator, which this gateway has none of; its own stories cover it.
    fuzz(gateway.newcomer(one_time=False).api_key, "--exclude-path=/api/v1/health")


def test_nor_do_those_of_an_operator_who_only_looks(gateway: Gateway, fuzz: Fuzz):
    unsafe = [f"--exclude-method={method}" for method in ("POST", "PUT", "PATCH", "DELETE")]
    fuzz(operators_key(gateway), "--include-path-regex=^/api/v1/admin/", *unsafe)


def test_nor_do_those_of_an_owner_who_says_who_answers(gateway: Gateway, fuzz: Fuzz):
    """In an organisation of their own: what is made up here is nobody else's agent."""
    fuzz(owners_key(gateway), "--include-path-regex=^/api/v1/(agents|model-profiles)")


def owners_key(gateway: Gateway) -> str:
    def made() -> str:
        from tests.factories import key_of, organisation  # noqa: PLC0415 - Django is not configured before

        return key_of(organisation("fuzzed").owner)

    found: str = gateway.in_database(made)
    return found


def operators_key(gateway: Gateway) -> str:
    def made() -> str:
        from somaagent.tenancy.models import User  # noqa: PLC0415 - Django is not configured before
        from somaagent.tenancy.selectors import actor_by_user  # noqa: PLC0415 - as above
        from tests.factories import key_of  # noqa: PLC0415 - as above

        actor = actor_by_user(User.objects.get(username=gateway.operator.name).id)
        assert actor is not None
        return key_of(actor, scopes=["read", "write", "operate"])

    found: str = gateway.in_database(made)
    return found


def test_the_document_says_how_errors_look(gateway: Gateway):
    document = requests.get(f"{gateway.url}/api/v1/openapi.json", timeout=60).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                if status.startswith("4"):
                    assert list(answer["content"]) == ["application/problem+json"], (path, method, status)
