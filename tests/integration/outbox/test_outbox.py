"""Events are kept with what they tell, and published in order, at least once."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from somaagent import valkey
from somaagent.observability import metrics
from somaagent.tenancy.audit.entries import BY_COMMAND, audit_entry_create
from somaagent.tenancy.models import Tenant
from somaagent.tenancy.outbox import lag, publishing, statements, tasks
from somaagent.tenancy.outbox.messages import SinkAwayError
from somaagent.tenancy.outbox.models import OutboxEvent
from somaagent.tenancy.outbox.streams import stream_of
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import performed
from tests.factories import key_of, organisation
from tests.kafka_server import Broker, broker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nobody_pauses():
    valkey.blocking_client().delete(tasks.BUSY)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory):
    with broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def topic(kafka: Broker, settings):
    settings.KAFKA_BOOTSTRAP, settings.KAFKA_TOPIC = kafka.address, kafka.topic()
    return settings.KAFKA_TOPIC


def tell(tenant, *subjects):
    """Events of a tenant, each in a transaction of its own."""

    def script(subject):
        done = statements.event(tenant_id=tenant.id, kind="thing.done", subject=subject, data={"n": subject})
        yield [statements.told(done)]

    for subject in subjects:
        with tenant_scope(tenant.id):
            performed(script(subject))


def publish(tenant, to=None):
    count = 0
    while done := publishing.batch_publish(tenant_id=tenant.id, to=to or publishing.sink()):
        count += done
    return count


def streamed(tenant) -> list[dict[str, Any]]:
    """What is in the tenant's stream, oldest first."""
    return [
        orjson.loads(fields[b"event"]) for _, fields in valkey.blocking_client().xrange(stream_of(tenant.id))
    ]


def subjects(events):
    return [event["subject"] for event in events]


def waiting(tenant):
    with tenant_scope(tenant.id):
        return OutboxEvent.objects.filter(published_at=None).count()


def test_an_event_is_published_as_a_cloudevent_in_its_tenant_s_stream():
    acme = organisation()
    tell(acme.tenant, "first", "second")
    assert publish(acme.tenant) == 2
    first, second = streamed(acme.tenant)
    assert (first["specversion"], first["type"], first["subject"]) == ("1.0", "thing.done", "first")
    assert (first["partitionkey"], first["data"]) == (str(acme.tenant.id), {"n": "first"})
    assert [first["sequence"], second["sequence"]] == ["1", "2"]
    assert first["id"] != second["id"]
    assert publish(acme.tenant) == 0


def test_what_is_rolled_back_is_never_told():
    acme = organisation()
    with tenant_scope(acme.tenant.id):
        audit_entry_create(by=BY_COMMAND, action="thing.undone")
        transaction.set_rollback(True)
    tell(acme.tenant, "done")
    publish(acme.tenant)
    assert subjects(streamed(acme.tenant)) == ["done"]


def test_an_audit_s_entry_is_told_with_its_digest_and_without_its_facts():
    acme = organisation()
    key_of(acme.owner)
    publish(acme.tenant)
    (told,) = streamed(acme.tenant)
    assert (told["type"], told["data"]["action"]) == ("audit.recorded", "api_key.created")
    assert len(told["data"]["digest"]) == 64
    assert "facts" not in told["data"]


def test_the_task_publishes_for_all_tenants_and_tells_the_lag():
    acme, other = organisation("acme"), organisation("other")
    tell(acme.tenant, "first")
    tell(other.tenant, "theirs")
    tasks.outbox_publish()
    assert subjects(streamed(acme.tenant)) == ["first"]
    assert subjects(streamed(other.tenant)) == ["theirs"]
    with connection.cursor() as cursor:
        cursor.execute(lag.LAG)
        assert lag.lag_of(cursor.fetchone()) == lag.Lag(0, 0.0)
    assert metrics.OUTBOX_LAG_SECONDS._value.get() == 0.0


def test_kafka_gets_a_tenant_s_events_in_order(kafka: Broker, topic):
    acme, other = organisation("acme"), organisation("other")
    for number in range(20):
        tell(acme.tenant, f"acme-{number}")
        tell(other.tenant, f"other-{number}")
    assert publish(acme.tenant) == publish(other.tenant) == 20
    found = kafka.read(topic, until=40)
    for tenant, name in ((acme.tenant, "acme"), (other.tenant, "other")):
        mine = [event for key, event in found if key == str(tenant.id)]
        assert subjects(mine) == [f"{name}-{number}" for number in range(20)]
        assert [int(event["sequence"]) for event in mine] == list(range(1, 21))


def test_while_kafka_is_away_events_wait_in_their_order(tmp_path, settings):
    acme = organisation()
    before = metrics.OUTBOX_FAILURES.labels(sink="kafka", fault="unreachable")._value.get()
    with broker(tmp_path) as kafka:
        settings.KAFKA_BOOTSTRAP, settings.KAFKA_TOPIC = kafka.address, kafka.topic()
        tell(acme.tenant, "first")
        assert publish(acme.tenant) == 1
        kafka.stop()
        tell(acme.tenant, "second", "third")
        with pytest.raises(SinkAwayError):
            publish(acme.tenant)
        tasks.outbox_publish()
        assert metrics.OUTBOX_FAILURES.labels(sink="kafka", fault="unreachable")._value.get() == before + 1
        assert valkey.blocking_client().ttl(tasks.BUSY) > 0
        assert waiting(acme.tenant) == 2
        kafka.start()
        settings.KAFKA_TOPIC = kafka.topic()
        assert publish(acme.tenant) == 2
        assert [event["sequence"] for _, event in kafka.read(settings.KAFKA_TOPIC, until=2)] == ["2", "3"]


def publisher_of(tenant: Tenant, bootstrap: str, topic: str) -> list[str]:
    """The command of a publisher in a process of its own."""
    module = "tests.integration.outbox.publisher"
    return [sys.executable, "-m", module, str(tenant.id), bootstrap, topic]


@pytest.mark.parametrize(("where", "dies"), [("kafka", "after"), ("kafka", "before"), ("valkey", "after")])
def test_a_publisher_that_is_killed_loses_and_reorders_nothing(kafka: Broker, topic, settings, where, dies):
    acme = organisation()
    bootstrap = kafka.address if where == "kafka" else ""
    settings.KAFKA_BOOTSTRAP = bootstrap or None
    tell(acme.tenant, *(f"event-{number}" for number in range(10)))
    command = publisher_of(acme.tenant, bootstrap, topic)
    with subprocess.Popen([*command, dies], stdout=subprocess.PIPE, text=True) as publisher:
        assert publisher.stdout.readline().strip() == f"10 {dies}"
        # It holds the tenant's lane: nobody else publishes, and what comes now is behind.
        assert publish(acme.tenant) == 0
        tell(acme.tenant, *(f"event-{number}" for number in range(10, 15)))
        publisher.kill()
    assert waiting(acme.tenant) == 15
    subprocess.run(command, check=True, timeout=120)
    assert waiting(acme.tenant) == 0
    if where == "kafka":
        found = [
            event
            for key, event in kafka.read(topic, until=25 if dies == "after" else 15)
            if key == str(acme.tenant.id)
        ]
    else:
        found = streamed(acme.tenant)
    assert len(found) == (25 if dies == "after" else 15)
    first_seen = {event["id"]: event for event in reversed(found)}
    once = sorted(first_seen.values(), key=found.index)
    assert subjects(once) == [f"event-{number}" for number in range(15)]
    assert [int(event["sequence"]) for event in once] == list(range(1, 16))


@pytest.mark.parametrize("where", ["kafka", "valkey"])
def test_a_publisher_that_lost_its_lock_and_goes_on_beside_the_next_one(
    kafka: Broker, topic, settings, stack, where
):
    """Whoever drops what has a number not above the last one has every event once, in order."""
    acme = organisation()
    bootstrap = kafka.address if where == "kafka" else ""
    settings.KAFKA_BOOTSTRAP = bootstrap or None
    tell(acme.tenant, *(f"event-{number}" for number in range(10)))
    command = publisher_of(acme.tenant, bootstrap, topic)
    with subprocess.Popen(
        [*command, "stalls"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as stalled:
        assert stalled.stdout.readline().strip() == "5 stalls"
        assert publish(acme.tenant) == 0
        with stack.superuser() as superuser:
            ended = superuser.execute(_END_IDLE).fetchall()
        assert ended
        # Its lock is gone with its connection; it does not know yet.
        tell(acme.tenant, *(f"event-{number}" for number in range(10, 15)))
        connection.close()
        assert publish(acme.tenant) == 15
        stalled.communicate("go on\n", timeout=120)
        assert stalled.returncode != 0
    assert waiting(acme.tenant) == 0
    if where == "kafka":
        found = [event for key, event in kafka.read(topic, until=25) if key == str(acme.tenant.id)]
    else:
        found = streamed(acme.tenant)
    assert len(found) == 25
    heard: list[dict[str, Any]] = []
    for event in found:
        if int(event["sequence"]) > len(heard):
            assert int(event["sequence"]) == len(heard) + 1
            heard.append(event)
    assert subjects(heard) == [f"event-{number}" for number in range(15)]


# What waits in a transaction that somebody began and does nothing in: here, the one who stalls. Then it is
# gone.
_END_IDLE = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE state = 'idle in transaction' AND usename = 'somaagent_app' AND query LIKE '%tenancy_outbox%'
"""


def test_many_publishers_at_once_keep_the_order():
    acme = organisation()
    tell(acme.tenant, *(f"event-{number}" for number in range(30)))
    more = threading.Thread(target=lambda: _telling(acme.tenant))
    publishers = [threading.Thread(target=lambda: _publishing(acme.tenant)) for _ in range(4)]
    for thread in (more, *publishers):
        thread.start()
    for thread in (more, *publishers):
        thread.join()
    publish(acme.tenant)
    found = streamed(acme.tenant)
    assert [int(event["sequence"]) for event in found] == list(range(1, 61))
    assert subjects(found) == [f"event-{number}" for number in range(60)]


def _telling(tenant):
    try:
        tell(tenant, *(f"event-{number}" for number in range(30, 60)))
    finally:
        connection.close()


def _publishing(tenant):
    try:
        for _ in range(20):
            publish(tenant)
    finally:
        connection.close()


def test_events_are_replayed_in_their_old_places_before_newer_ones():
    acme = organisation()
    tell(acme.tenant, "first", "second")
    publish(acme.tenant)
    valkey.blocking_client().delete(stream_of(acme.tenant.id))
    tell(acme.tenant, "third")
    out = io.StringIO()
    since = (timezone.now() - timedelta(minutes=5)).isoformat()
    call_command("outbox_replay", "--since", since, "--tenant", acme.tenant.slug, stdout=out)
    assert "2 events are published again" in out.getvalue()
    publish(acme.tenant)
    assert subjects(streamed(acme.tenant)) == ["first", "second", "third"]
    assert [event["sequence"] for event in streamed(acme.tenant)] == ["1", "2", "3"]
    with pytest.raises(CommandError, match="takes a moment"):
        call_command("outbox_replay", "--since", "yesterday")


def test_what_was_published_long_ago_is_forgotten_and_what_waits_is_not(settings):
    acme = organisation()
    settings.OUTBOX_DAYS = 1
    tell(acme.tenant, "old", "new")
    publish(acme.tenant)
    tell(acme.tenant, "waits")
    long_ago = timezone.now() - timedelta(days=2)
    with tenant_scope(acme.tenant.id):
        OutboxEvent.objects.exclude(subject="new").update(created_at=long_ago)
    tasks.outbox_forget()
    with tenant_scope(acme.tenant.id):
        assert sorted(OutboxEvent.objects.values_list("subject", flat=True)) == ["new", "waits"]


def test_another_tenant_s_events_are_not_seen():
    acme, other = organisation("acme"), organisation("other")
    tell(acme.tenant, "first")
    assert waiting(acme.tenant) == 1
    assert waiting(other.tenant) == 0
    assert publish(other.tenant) == 0
