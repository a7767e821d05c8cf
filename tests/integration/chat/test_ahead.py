"""A model is asked while a turn's rows are on their way; nobody is told before they are there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection

from apps.chat import host, turns
from apps.chat.models import Turn
from apps.sessions.models import Agent, Message
from somaagent import valkey
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, organisation
from tests.integration.chat.scripted import asked
from tests.integration.observability.processes import eventually

pytestmark = pytest.mark.django_db(transaction=True)

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
def acme(model) -> Organisation:
    return organisation("acme", model_url=f"{model}/v1")


@contextmanager
def held_up(acme: Organisation) -> Iterator[None]:
    """No session with the agent is kept meanwhile."""
    with tenant_scope(acme.tenant.id):
        Agent.objects.select_for_update().get(id=acme.agent.id)
        yield


def rows(query: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


def submitting(acme: Organisation, model: str, beside: ThreadPoolExecutor) -> Future[Turn]:
    """A turn on its way, whose model has been asked."""
    before = len(asked(model))
    submit = turns.submit(actor=acme.owner, text="say: ahead of it")
    on_its_way = beside.submit(run_coroutine, submit)
    eventually(lambda: len(asked(model)) > before)
    eventually(lambda: rows(WAITING))
    return on_its_way


def told(turn: Turn | None = None) -> list[bytes]:
    """The streams of turns that have begun."""
    found: Any = valkey.blocking_client().keys(f"soma:turn:{turn.id if turn else '*'}:events")
    return list(found)


def test_the_model_is_asked_meanwhile_and_its_answer_told_afterwards(acme, model, beside):
    before = told()
    with held_up(acme):
        on_its_way = submitting(acme, model, beside)
        assert not Turn.objects.exists()
        assert told() == before
        assert not on_its_way.done()
    turn = on_its_way.result()
    run_coroutine(host.idle())
    with tenant_scope(acme.tenant.id):
        kept = Turn.objects.select_related("output_message").get(id=turn.id)
    assert (kept.state, kept.attempt, kept.output_message.text) == ("completed", 1, "ahead of it")
    assert told(turn)


def test_of_a_turn_that_is_not_kept_nobody_hears(acme, model, beside):
    before = told()
    with held_up(acme):
        on_its_way = submitting(acme, model, beside)
        ((pid,),) = rows(WAITING)
        rows(f"SELECT pg_cancel_backend({pid})")
        with pytest.raises(OperationalError):
            on_its_way.result()
        run_coroutine(host.idle())
    assert told() == before
    with tenant_scope(acme.tenant.id):
        assert not Turn.objects.exists()
        assert not Message.objects.exists()
