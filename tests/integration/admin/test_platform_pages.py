"""An operator looks at the platform's services and settings."""

from __future__ import annotations

import html
import re

import pytest
from django.conf import settings as configured
from django.test import Client
from django.urls import reverse

from somaagent.observability import health
from somaagent.observability.health import HealthRecord, ServiceHealth, State
from tests.factories import Organisation, operator_client, organisation, user_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


@pytest.fixture
def operator(acme: Organisation) -> Client:
    return operator_client(acme.owner)


def page(operator: Client, name: str, **query: str) -> str:
    answer = operator.get(reverse(f"admin:{name}"), query)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def test_services_are_shown_with_what_is_wrong(operator, settings, tmp_path):
    settings.RUN_DIR = tmp_path
    when = "2026-01-01T10:00:00.000Z"
    services = {
        "gateway": ServiceHealth(State.UP, critical=True, since=when),
        "worker": ServiceHealth(State.FAILED, critical=False, since=when, restarts=5, last_error="<It died>"),
    }
    record = HealthRecord("STANDALONE", "1.2.3", health.now(), services, tick_seconds=3600)
    health.store(tmp_path, record)
    shown = page(operator, "services")
    rows = shown.split('id="services"')[1]
    assert rows.index("worker") < rows.index("gateway")
    for text in ("<It died>", "2026-01-01 10:00:00 UTC", "degraded", "version 1.2.3"):
        assert text in shown
    assert "<It died>" not in operator.get(reverse("admin:services")).content.decode()


def test_a_service_that_is_well_again_is_none_of_those_that_are_not(operator, settings, tmp_path):
    settings.RUN_DIR = tmp_path
    when = "2026-01-01T10:00:00.000Z"
    services = {"worker": ServiceHealth(State.UP, critical=False, since=when, last_error="It was slow")}
    health.store(tmp_path, HealthRecord("STANDALONE", "1.2.3", health.now(), services, tick_seconds=3600))
    first = page(operator, "index")
    assert "All 1 are well." in first
    assert "It was slow" not in first
    assert "Before: It was slow" in re.sub(r"<.*?>", "", page(operator, "services"))


def test_settings_are_shown_with_their_source_and_no_secret(operator):
    shown = page(operator, "settings")
    for text in ("SA01_DB_HOST", configured.DATABASES["default"]["HOST"], "Vault somaagent/core secret_key"):
        assert text in shown
    assert shown.count("a secret, set") == 3
    for secret in (
        configured.SECRET_KEY,
        configured.VALKEY["password"],
        configured.DATABASES["default"]["PASSWORD"],
    ):
        assert secret not in shown


def test_settings_are_searched(operator):
    shown = page(operator, "settings", q="kafka topic")
    assert "SA01_KAFKA_TOPIC" in shown
    assert "SA01_DB_HOST" not in shown
    assert "1 found" in shown
    assert "No setting has these words." in page(operator, "settings", q="<script>")


def test_the_pages_are_found_by_those_who_may_see_them(acme, operator):
    links = [reverse("admin:services"), reverse("admin:settings")]
    first = page(operator, "index")
    assert all(link in first for link in links)
    user = user_of(acme.owner)
    user.is_superuser = False
    user.save()
    for link in links:
        assert operator.get(link).status_code == 403
        assert link not in page(operator, "index")
