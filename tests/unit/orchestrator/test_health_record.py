"""The health record says what the services are, and never pretends to be fresher than it is."""

from __future__ import annotations

import dataclasses
import json
import stat
from datetime import UTC, datetime, timedelta

import pytest

from somaagent.observability import health
from somaagent.observability.health import HealthRecord, ServiceHealth, State, Status


def record(**states: tuple[State, bool]) -> HealthRecord:
    services = {
        name: ServiceHealth(state=state, critical=critical, since=health.now(), last_error="It ended.")
        for name, (state, critical) in states.items()
    }
    return HealthRecord(mode="STANDALONE", version="1.2.3", updated=health.now(), services=services)


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ({"gateway": (State.UP, True), "migrations": (State.DONE, True)}, Status.HEALTHY),
        ({"gateway": (State.UP, True), "worker": (State.RESTARTING, False)}, Status.DEGRADED),
        ({"gateway": (State.UP, True), "worker": (State.FAILED, False)}, Status.DEGRADED),
        ({"gateway": (State.RESTARTING, True), "worker": (State.UP, False)}, Status.UNHEALTHY),
        ({"gateway": (State.STOPPING, True)}, Status.UNHEALTHY),
        ({"postgres": (State.DOWN, True), "worker": (State.DOWN, False)}, Status.UNHEALTHY),
    ],
)
def test_only_a_critical_service_makes_the_whole_unhealthy(states, status):
    assert record(**states).status is status


def test_a_record_comes_back_as_it_was_stored_and_is_private(tmp_path):
    written = record(gateway=(State.UP, True), worker=(State.DOWN, False))
    health.store(tmp_path, written)

    assert health.load(tmp_path) == written
    assert stat.S_IMODE((tmp_path / health.FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [health.FILE_NAME]
    body = written.body()
    assert set(body) == {"status", "mode", "version", "updated", "services"}
    assert set(body["services"]["gateway"]) == {
        "state",
        "critical",
        "since",
        "restarts",
        "last_error",
        "latency_ms",
    }
    assert json.loads(json.dumps(body)) == body


def test_reasons_name_the_critical_services_alone():
    reasons = record(
        postgres=(State.DOWN, True), worker=(State.DOWN, False), valkey=(State.UP, True)
    ).reasons()
    assert reasons == ["postgres is down: It ended."]


def test_a_record_that_is_missing_old_or_damaged_means_that_the_orchestrator_is_down(tmp_path):
    missing = health.judged(health.load(tmp_path), mode="SAAS", version="1")
    assert missing.status is Status.UNHEALTHY
    assert missing.mode == "SAAS"
    assert missing.services["orchestrator"].state is State.DOWN

    fresh = record(gateway=(State.UP, True))
    assert health.judged(fresh, mode="SAAS", version="1") is fresh
    moment = datetime.now(UTC) - timedelta(seconds=fresh.tick_seconds * health.STALE_AFTER_TICKS + 1)
    stale = health.judged(dataclasses.replace(fresh, updated=moment.isoformat()), mode="SAAS", version="1")
    assert stale.status is Status.UNHEALTHY
    assert stale.services["gateway"].state is State.UP
    assert "7 s ago" in str(stale.services["orchestrator"].last_error)

    for damage in (b"", b"[]", b'{"services": 3}', b'{"services": {"a": {"state": "odd"}}}', b"\xff\xfe"):
        (tmp_path / health.FILE_NAME).write_bytes(damage)
        assert health.load(tmp_path) is None
