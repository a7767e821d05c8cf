"""Kafka behind TLS, and one that does not know us: events arrive, or wait and it is said why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from somaagent import valkey
from somaagent.embedded.addresses import loopback
from somaagent.observability import metrics
from somaagent.orchestrator.adapters import Events
from somaagent.orchestrator.registry import NotHealthy
from somaagent.tenancy.outbox import faults, tasks
from somaagent.tenancy.outbox.faults import Fault
from tests.factories import organisation
from tests.integration.outbox.test_outbox import nobody_pauses, publish, subjects, tell, waiting  # noqa: F401 a fixture
from tests.kafka_server import Broker, broker, free_port
from tests.tls_front import Authority, front

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a-password-at-kafka-0123456789"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: Any) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture(scope="module")
def encrypted(authority: Authority, tmp_path_factory: Any) -> Iterator[Broker]:
    """A real broker, which speaks no TLS, behind something that does."""
    address = f"{loopback()}:{free_port()}"
    options = {"security.protocol": "ssl", "ssl.ca.location": str(authority.file)}
    with (
        broker(tmp_path_factory.mktemp("encrypted"), front=address, options=options) as running,
        front(address, running.address, authority.server()),
    ):
        yield running


@pytest.fixture(scope="module")
def closed(authority: Authority, tmp_path_factory: Any) -> Iterator[Broker]:
    """The same, and it wants to know who comes."""
    address = f"{loopback()}:{free_port()}"
    with (
        broker(tmp_path_factory.mktemp("closed"), front=address, closed=True) as running,
        front(address, running.address, authority.server()),
    ):
        yield running


def use(settings: Any, kafka: Broker, topic: str, ca: Path, **sasl: str) -> None:
    settings.KAFKA_BOOTSTRAP, settings.KAFKA_TOPIC, settings.KAFKA_CA_FILE = kafka.reached_at, topic, ca
    settings.KAFKA_SECURITY_PROTOCOL = "SASL_SSL" if sasl else "SSL"
    for name, value in sasl.items():
        setattr(settings, f"KAFKA_{name}", value)


def failures(fault: Fault) -> float:
    return float(metrics.OUTBOX_FAILURES.labels(sink="kafka", fault=fault)._value.get())


def refused(fault: Fault) -> str:
    """The task runs into a fault: it is counted, in the log, in health at once. Gives what health says."""
    before = failures(fault)
    with capture_logs() as lines:
        tasks.outbox_publish()
    assert failures(fault) == before + 1
    assert fault in [line.get("fault") for line in lines if line["event"] == "outbox.sink_away"]
    assert PASSWORD not in str(lines)
    with pytest.raises(NotHealthy) as said:
        Events().check(None)
    return str(said.value)


def test_events_go_to_kafka_over_tls(encrypted: Broker, authority: Authority, settings: Any):
    acme = organisation()
    use(settings, encrypted, encrypted.topic(), authority.file)
    tell(acme.tenant, "first", "second")
    assert publish(acme.tenant) == 2
    found = encrypted.read(settings.KAFKA_TOPIC, until=2)
    assert subjects([event for _, event in found]) == ["first", "second"]


def test_a_server_that_another_authority_signed_for_gets_nothing(
    encrypted: Broker, authority: Authority, settings: Any, tmp_path: Path
):
    acme = organisation()
    topic = encrypted.topic()
    use(settings, encrypted, topic, Authority(tmp_path, "another").file)
    tell(acme.tenant, "first", "second")
    said = refused(Fault.TLS)
    assert "SA01_KAFKA_CA_FILE" in said
    assert waiting(acme.tenant) == 2
    use(settings, encrypted, topic, authority.file)
    valkey.blocking_client().delete(tasks.BUSY)
    tasks.outbox_publish()
    assert waiting(acme.tenant) == 0
    assert faults.last_fault(valkey.blocking_client()) is None
    mine = [event for key, event in encrypted.read(topic, until=2) if key == str(acme.tenant.id)]
    assert subjects(mine) == ["first", "second"]
    Events().check(None)


def test_a_broker_that_does_not_know_us_is_told_of_and_events_wait(
    closed: Broker, authority: Authority, settings: Any
):
    acme = organisation()
    use(
        settings, closed, "somaagent.events", authority.file,
        SASL_MECHANISM="SCRAM-SHA-256", USERNAME="somaagent", PASSWORD=PASSWORD,
    )  # fmt: skip
    tell(acme.tenant, "first")
    said = refused(Fault.AUTHENTICATION)
    assert "SA01_KAFKA_USERNAME" in said
    assert waiting(acme.tenant) == 1


def test_a_file_that_is_no_authority_is_told_of(encrypted: Broker, settings: Any, tmp_path: Path):
    acme = organisation()
    use(settings, encrypted, "somaagent.events", tmp_path / "nowhere.pem")
    tell(acme.tenant, "first")
    assert "SA01_KAFKA_" in refused(Fault.CONFIGURATION)
    assert waiting(acme.tenant) == 1
