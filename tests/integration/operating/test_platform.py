"""Operators see how the platform's services are, and every setting with where it came from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings as configured

from somaagent.observability import health
from somaagent.observability.health import HealthRecord, ServiceHealth, State
from tests.factories import Organisation, key_of, operator_client, organisation
from tests.integration.tenancy.town import Program

pytestmark = pytest.mark.django_db(transaction=True)
SERVICES, SETTINGS = "/api/v1/admin/services", "/api/v1/admin/settings"
WHEN = "2026-01-01T10:00:00.000Z"


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


@pytest.fixture
def operator(acme: Organisation) -> Program:
    operator_client(acme.owner)
    return Program(key_of(acme.owner, scopes=["read", "write", "operate"]))


@pytest.fixture
def recorded(settings, tmp_path):
    """The orchestrator's record: a worker that keeps dying, and a database that is up again."""
    settings.RUN_DIR = tmp_path
    services = {
        "gateway": ServiceHealth(State.UP, critical=True, since=WHEN, latency_ms=1.5),
        "postgres": ServiceHealth(State.UP, critical=True, since=WHEN, last_error="It did not answer."),
        "worker": ServiceHealth(
            State.RESTARTING, critical=False, since=WHEN, restarts=3, last_error="It ended with status 1."
        ),
    }
    record = HealthRecord("STANDALONE", "1.2.3", health.now(), services, tick_seconds=3600)
    health.store(tmp_path, record)
    return record


def told(by: Program, path: str) -> Any:
    answer = by.call("GET", path)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_services_in_trouble_come_first_with_their_errors(operator, recorded):
    found = told(operator, SERVICES)
    assert (found["status"], found["version"], found["reasons"]) == ("degraded", "1.2.3", [])
    assert [each["name"] for each in found["services"]] == ["worker", "gateway", "postgres"]
    worker, gateway, postgres = found["services"]
    assert (worker["good"], worker["restarts"], worker["last_error"]) == (False, 3, "It ended with status 1.")
    assert worker["seconds"] > 0
    assert (gateway["good"], gateway["last_error"], gateway["latency_ms"]) == (True, None, 1.5)
    assert postgres["last_error"] == "It did not answer."


def test_a_critical_service_that_is_down_is_a_reason(operator, recorded):
    down = replace(recorded.services["postgres"], state=State.DOWN)
    health.store(configured.RUN_DIR, replace(recorded, services={**recorded.services, "postgres": down}))
    found = told(operator, SERVICES)
    assert (found["status"], found["reasons"]) == ("unhealthy", ["postgres is down: It did not answer."])


def test_no_record_says_that_the_orchestrator_is_gone(operator, settings, tmp_path):
    settings.RUN_DIR = tmp_path
    (orchestrator,) = told(operator, SERVICES)["services"]
    assert (orchestrator["name"], orchestrator["state"]) == ("orchestrator", "down")


def test_every_setting_is_told_with_its_source_and_no_secret(operator):
    answer = operator.call("GET", SETTINGS)
    found = {each["name"]: each for each in answer.json()["items"]}
    database = found["SA01_DB_HOST"]
    assert (database["value"], database["state"]) == (configured.DATABASES["default"]["HOST"], "set")
    assert database["source"] not in ("", "default")
    default = found["SA01_VAULT_MOUNT"]
    assert default["takes"] == "text"
    assert found["SA01_DEPLOYMENT_MODE"]["modes"] == ["SAAS", "STANDALONE"]
    unset = found["SA01_VAULT_NAMESPACE"]
    assert (unset["value"], unset["state"], unset["source"]) == (None, "not set", "")

    secrets = [each for each in found.values() if each["secret"]]
    assert {each["name"] for each in secrets} == {
        "SA01_SECRET_KEY",
        "SA01_VALKEY_PASSWORD",
        "SA01_DB_PASSWORD",
        "SA01_KAFKA_PASSWORD",
    }
    for each in secrets:
        assert (each["value"], each["default"]) == (None, None)
        # Nobody speaks with Kafka here.
        expected = "not set" if each["name"] == "SA01_KAFKA_PASSWORD" else "set"
        assert each["state"] == expected
        assert each["source"].startswith("Vault ") or expected == "not set"
    for secret in (
        configured.SECRET_KEY,
        configured.VALKEY["password"],
        configured.DATABASES["default"]["PASSWORD"],
    ):
        assert secret not in answer.content.decode()
        assert secret not in repr(configured.PUBLISHED_SETTINGS)


def test_settings_are_found_by_words(operator):
    found = told(operator, f"{SETTINGS}?q=kafka%20TOPIC")["items"]
    assert [each["name"] for each in found] == ["SA01_KAFKA_TOPIC"]
    assert told(operator, f"{SETTINGS}?q=nothing%20of%20this%20kind")["items"] == []


def test_what_was_published_cannot_be_changed():
    with pytest.raises(TypeError):
        configured.PUBLISHED_SETTINGS[0]["value"] = "mine"


def test_only_operators_see_the_platform(acme, operator):
    owner = organisation("other").owner
    keys = {
        "operator_only": key_of(owner, scopes=["read", "write", "operate"]),
        "scope_missing": key_of(acme.owner),
    }
    for path in (SERVICES, SETTINGS):
        for code, key in keys.items():
            answer = Program(key).call("GET", path)
            assert (answer.status_code, answer.json()["code"]) == (403, code)
