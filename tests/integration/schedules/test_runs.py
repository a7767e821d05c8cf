"""Schedules that come due: each run is an ordinary turn, and there is one of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

import somaagent.celery  # noqa: F401 runs send their messages to this application's broker
from apps.chat import host, tasks
from apps.chat import services as chat
from apps.chat.models import Turn, TurnState
from apps.chat.schedules import runs, selectors, services
from apps.chat.schedules.models import MissedRuns, RunOutcome, Schedule, SessionPolicy
from apps.chat.schedules.tasks import schedules_sweep
from apps.sessions import services as session_services
from apps.sessions.models import Message, Session
from somaagent import valkey
from somaagent.background import run_coroutine
from somaagent.errors import SomaError
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.models import Membership, Role, Tenant, User
from somaagent.tenancy.scope import tenant_scope
from tests import model_server
from tests.factories import Organisation, organisation, person, taken

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_message_is_left")]
LONG_AGO = datetime(2026, 1, 5, 8, tzinfo=UTC)


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    with model_server.process() as url:
        yield f"{url}/v1"


@pytest.fixture
def acme(model) -> Organisation:
    return organisation("acme", model_url=model)


def scheduled(acme: Organisation, **facts) -> Schedule:
    wanted = {"prompt": "say: good morning", "cron": "0 8 * * *", "time_zone": "Europe/Paris"}
    actor = facts.pop("actor", acme.owner)
    with tenant_scope(acme.tenant.id):
        return services.schedule_create(actor=actor, **wanted | facts)


def falls_due(acme: Organisation, schedule: Schedule, planned: datetime | None = None) -> datetime:
    """Its time has come: as if it had been made earlier."""
    planned = planned or timezone.now() - timedelta(seconds=3)
    with tenant_scope(acme.tenant.id):
        Schedule.objects.filter(id=schedule.id).update(next_run_at=planned)
    return planned


def now(acme: Organisation, schedule: Schedule) -> Schedule:
    with tenant_scope(acme.tenant.id):
        return Schedule.objects.get(id=schedule.id)


def planned_later(schedule: Schedule) -> bool:
    return schedule.next_run_at is not None and schedule.next_run_at > timezone.now()


def runs_of(acme: Organisation, schedule: Schedule) -> list:
    """Oldest first."""
    with tenant_scope(acme.tenant.id):
        return list(schedule.runs.select_related("turn__output_message").order_by("id"))


def worker_answers(acme: Organisation, turn: Turn | None) -> Turn:
    """The worker gets the message that the run sent it."""
    assert turn is not None
    tasks.turn_run(str(turn.id), str(acme.tenant.id))
    run_coroutine(host.idle())
    with tenant_scope(acme.tenant.id):
        return Turn.objects.select_related("output_message", "session").get(id=turn.id)


def messages_sent() -> int:
    return int(valkey.blocking_client().llen("somaagent"))


def test_a_due_schedule_becomes_a_turn_that_a_worker_answers(acme):
    schedule = scheduled(acme, name="Morning")
    planned = falls_due(acme, schedule)
    before = messages_sent()
    schedules_sweep()
    assert messages_sent() == before + 1
    (run,) = runs_of(acme, schedule)
    assert (run.outcome, run.planned_at) == (RunOutcome.SUBMITTED, planned)
    turn = worker_answers(acme, run.turn)
    assert (turn.state, turn.output_message.text) == (TurnState.COMPLETED, "good morning")
    assert (turn.user_id, turn.session.title) == (acme.owner.user_id, "Morning")
    after = now(acme, schedule)
    assert planned_later(after)
    assert (after.last_turn_id, after.last_run_at is None) == (turn.id, False)


def test_what_is_not_due_or_is_paused_does_not_run(acme):
    early, paused = scheduled(acme), scheduled(acme, enabled=False)
    schedules_sweep()
    assert runs_of(acme, early) == runs_of(acme, paused) == []
    assert now(acme, paused).next_run_at is None


def test_two_sweeps_at_once_run_it_once(acme):
    schedules = [scheduled(acme, prompt=f"say: {number}") for number in range(8)]
    for schedule in schedules:
        falls_due(acme, schedule)
    together = threading.Barrier(3)

    def sweep() -> None:
        try:
            together.wait()
            schedules_sweep()
        finally:
            connection.close()

    sweeps = [threading.Thread(target=sweep) for _ in range(3)]
    for thread in sweeps:
        thread.start()
    for thread in sweeps:
        thread.join()
    schedules_sweep()
    assert [len(runs_of(acme, schedule)) for schedule in schedules] == [1] * 8
    with tenant_scope(acme.tenant.id):
        assert Turn.objects.count() == 8


def test_a_sweep_that_comes_late_to_a_time_finds_it_gone(acme):
    schedule = scheduled(acme)
    planned = falls_due(acme, schedule)
    with tenant_scope(acme.tenant.id):
        assert runs.run_due(schedule_id=schedule.id, planned_at=planned) is not None
        assert runs.run_due(schedule_id=schedule.id, planned_at=planned) is None


def test_runs_that_were_missed_are_made_good_once_or_not_at_all(acme):
    often = scheduled(acme, cron="*/10 * * * *")
    never = scheduled(acme, cron="*/10 * * * *", missed_runs=MissedRuns.SKIP)
    for schedule in (often, never):
        falls_due(acme, schedule, LONG_AGO)
    schedules_sweep()
    schedules_sweep()
    (made_good,), (skipped,) = runs_of(acme, often), runs_of(acme, never)
    assert (made_good.outcome, made_good.planned_at) == (RunOutcome.SUBMITTED, LONG_AGO)
    assert (skipped.outcome, skipped.reason_code, skipped.turn) == (RunOutcome.SKIPPED, "missed", None)
    for schedule in (often, never):
        assert now(acme, schedule).enabled
        assert planned_later(now(acme, schedule))


def test_each_run_has_a_session_of_its_own_or_all_share_one(acme):
    apart, together = scheduled(acme), scheduled(acme, session_policy=SessionPolicy.SAME)
    for _ in range(2):
        for schedule in (apart, together):
            falls_due(acme, schedule)
        schedules_sweep()
        for schedule in (apart, together):
            worker_answers(acme, runs_of(acme, schedule)[-1].turn)
    first, second = [run.turn.session_id for run in runs_of(acme, apart)]
    assert first != second
    first, second = [run.turn.session_id for run in runs_of(acme, together)]
    assert first == second == now(acme, together).session_id
    with tenant_scope(acme.tenant.id):
        assert Message.objects.filter(session_id=first).count() == 4


def test_a_session_that_goes_on_begins_anew_after_it_was_deleted(acme):
    schedule = scheduled(acme, session_policy=SessionPolicy.SAME)
    falls_due(acme, schedule)
    schedules_sweep()
    first = now(acme, schedule).session_id
    assert first is not None
    with tenant_scope(acme.tenant.id):
        session_services.session_delete(actor=acme.owner, session_id=first)
    falls_due(acme, schedule)
    schedules_sweep()
    gone, again = runs_of(acme, schedule)
    assert (gone.turn, again.outcome) == (None, RunOutcome.SUBMITTED)
    assert again.turn.session_id == now(acme, schedule).session_id != first


def test_a_session_that_is_archived_pauses_the_schedule(acme):
    schedule = scheduled(acme, session_policy=SessionPolicy.SAME)
    falls_due(acme, schedule)
    schedules_sweep()
    (run,) = runs_of(acme, schedule)
    worker_answers(acme, run.turn)
    with tenant_scope(acme.tenant.id):
        session_services.session_update(actor=acme.owner, session_id=run.turn.session_id, archived=True)
    falls_due(acme, schedule)
    schedules_sweep()
    assert now(acme, schedule).paused_code == "session_archived"


def user_leaves(acme, actor):
    with tenant_scope(acme.tenant.id):
        Membership.objects.filter(user_id=actor.user_id).delete()


def user_is_disabled(acme, actor):
    User.objects.filter(id=actor.user_id).update(is_active=False)


def user_becomes_a_viewer(acme, actor):
    with tenant_scope(acme.tenant.id):
        Membership.objects.filter(user_id=actor.user_id).update(role=Role.VIEWER)


def agent_is_deleted(acme, actor):
    with tenant_scope(acme.tenant.id):
        Session.objects.all().delete()
        acme.agent.delete()


@pytest.mark.parametrize(
    ("happens", "code"),
    [
        (user_leaves, "user_gone"),
        (user_is_disabled, "user_gone"),
        (user_becomes_a_viewer, "user_only_reads"),
        (agent_is_deleted, "agent_gone"),
    ],
)
def test_what_makes_runs_impossible_pauses_the_schedule_and_says_so(acme, happens, code):
    member = person("member", acme.tenant)
    schedule, other = scheduled(acme, actor=member), scheduled(acme)
    for one in (schedule, other):
        falls_due(acme, one)
    happens(acme, member)
    schedules_sweep()
    (run,) = runs_of(acme, schedule)
    assert (run.outcome, run.reason_code, run.turn) == (RunOutcome.REFUSED, code, None)
    paused = now(acme, schedule)
    assert (paused.enabled, paused.next_run_at, paused.paused_code) == (False, None, code)
    assert paused.paused_message
    assert now(acme, other).enabled is (happens is not agent_is_deleted)


def test_a_suspended_tenant_waits_and_goes_on(acme):
    schedule = scheduled(acme)
    falls_due(acme, schedule)
    Tenant.objects.filter(id=acme.tenant.id).update(suspended_at=timezone.now())
    schedules_sweep()
    assert runs_of(acme, schedule) == []
    Tenant.objects.filter(id=acme.tenant.id).update(suspended_at=None)
    schedules_sweep()
    assert len(runs_of(acme, schedule)) == 1


def test_one_schedule_that_cannot_be_run_keeps_no_other_from_running(acme):
    broken, sound = scheduled(acme), scheduled(acme)
    falls_due(acme, broken, LONG_AGO)
    falls_due(acme, sound)
    # A run that is on record for this time already: the platform's own mistake, which must not spread.
    with tenant_scope(acme.tenant.id):
        broken.runs.create(tenant_id=acme.tenant.id, planned_at=LONG_AGO, outcome=RunOutcome.SKIPPED)
    schedules_sweep()
    assert len(runs_of(acme, sound)) == 1
    assert now(acme, broken).next_run_at == LONG_AGO
    with tenant_scope(acme.tenant.id):
        assert Turn.objects.count() == 1, "nothing of the broken run is left"
        Schedule.objects.filter(id=broken.id).delete()


def test_run_now_leaves_the_plan_alone_and_the_same_key_runs_it_once(acme):
    schedule = scheduled(acme, enabled=False)
    once = Idempotency("now-1", b"n" * 32)
    with tenant_scope(acme.tenant.id):
        first = runs.run_now(actor=acme.owner, schedule_id=schedule.id, idempotency=once)
        again = runs.run_now(actor=acme.owner, schedule_id=schedule.id, idempotency=once)
        more = runs.run_now(actor=acme.owner, schedule_id=schedule.id)
    assert first.id == again.id != more.id
    assert worker_answers(acme, first.turn).output_message.text == "good morning"
    assert not now(acme, schedule).enabled


def test_a_user_has_so_many_schedules_and_no_more(acme, monkeypatch):
    monkeypatch.setattr(services, "MOST_SCHEDULES", 2)
    first, _ = scheduled(acme), scheduled(acme)
    with pytest.raises(SomaError) as refused:
        scheduled(acme)
    assert refused.value.code == "schedules_too_many"
    assert scheduled(acme, actor=person("colleague", acme.tenant)).enabled
    with tenant_scope(acme.tenant.id):
        services.schedule_delete(actor=acme.owner, schedule_id=first.id)
    assert scheduled(acme).enabled


def test_a_schedule_speaks_with_another_agent_in_another_session(acme):
    schedule = scheduled(acme, session_policy=SessionPolicy.SAME)
    falls_due(acme, schedule)
    schedules_sweep()
    with tenant_scope(acme.tenant.id):
        session_services.agent_ensure(
            tenant_id=acme.tenant.id,
            slug="other",
            name="Other",
            instructions="",
            model_profile=acme.agent.model_profile,
        )
        services.schedule_update(actor=acme.owner, schedule_id=schedule.id, agent="other")
    falls_due(acme, schedule)
    schedules_sweep()
    with tenant_scope(acme.tenant.id):
        slugs = [run.turn.session.agent.slug for run in schedule.runs.order_by("id")]
    assert slugs == ["assistant", "other"]


def test_changed_paused_and_resumed(acme):
    schedule = scheduled(acme, session_policy=SessionPolicy.SAME)

    def update(**changes) -> Schedule:
        with tenant_scope(acme.tenant.id):
            return services.schedule_update(actor=acme.owner, schedule_id=schedule.id, **changes)

    planned = schedule.next_run_at
    assert update(name="Other", prompt="say: changed").next_run_at == planned
    assert update(cron="0 9 * * *").next_run_at != planned
    assert update(enabled=False).next_run_at is None
    assert update(cron="0 8 * * *").next_run_at is None, "it stays paused"
    resumed = update(enabled=True)
    assert (resumed.enabled, planned_later(resumed)) == (True, True)
    with tenant_scope(acme.tenant.id):
        services.schedule_pause(schedule_id=schedule.id, code="agent_gone", message="Gone.")
    assert update(enabled=True).paused_code == ""
    with pytest.raises(SomaError, match="IANA"):
        update(time_zone="Mars/Phobos")


def test_a_colleague_s_schedule_is_not_there(acme):
    schedule, colleague = scheduled(acme), person("colleague", acme.tenant)
    attempts = [
        lambda: selectors.schedule_get(actor=colleague, schedule_id=schedule.id),
        lambda: selectors.run_list(actor=colleague, schedule_id=schedule.id),
        lambda: services.schedule_update(actor=colleague, schedule_id=schedule.id, enabled=False),
        lambda: services.schedule_delete(actor=colleague, schedule_id=schedule.id),
        lambda: runs.run_now(actor=colleague, schedule_id=schedule.id),
    ]
    with tenant_scope(acme.tenant.id):
        for attempt in attempts:
            with pytest.raises(SomaError) as refused:
                attempt()
            assert refused.value.code == "not_found"


def test_in_a_busy_session_runs_wait_and_those_too_many_are_skipped(acme):
    schedule = scheduled(acme, session_policy=SessionPolicy.SAME)
    falls_due(acme, schedule)
    schedules_sweep()
    (first,) = runs_of(acme, schedule)
    with tenant_scope(acme.tenant.id):
        taken(first.turn, "a worker that is slow")
    sent = messages_sent()
    for _ in range(chat.MOST_WAITING + 1):
        falls_due(acme, schedule)
        schedules_sweep()
    *waiting, last = runs_of(acme, schedule)[1:]
    assert {run.turn.state for run in waiting} == {TurnState.QUEUED}
    assert messages_sent() == sent, "no worker is woken for what has to wait"
    assert (last.outcome, last.reason_code, last.turn) == (RunOutcome.SKIPPED, "session_busy", None)
    assert now(acme, schedule).enabled
    with tenant_scope(acme.tenant.id):
        assert Message.objects.filter(session_id=first.turn.session_id).count() == 1 + chat.MOST_WAITING
