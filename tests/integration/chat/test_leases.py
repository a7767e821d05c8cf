"""Leases: one task moves those of all turns of a process on, and tells the runs that are to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.chat import host, stream, turns
from apps.chat.models import Turn, TurnState
from apps.sessions import services as session_services
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import in_tenant
from tests import model_server
from tests.factories import Organisation, organisation

pytestmark = pytest.mark.django_db(transaction=True)
SOON = 10.0


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    with model_server.process() as url:
        yield f"{url}/v1"


@pytest.fixture
def acme(model) -> Organisation:
    return organisation("acme", model_url=model)


@pytest.fixture
def other(model) -> Organisation:
    return organisation("other", model_url=model)


async def hanging(who: Organisation) -> Turn:
    """A turn whose model has begun to write, and writes no more."""
    turn = await turns.submit(actor=who.owner, text="hang after 2")
    await until(lambda: is_written(turn))
    return turn


async def is_written(turn: Turn) -> bool:
    return any(record.type == "text.delta" for record in await stream.read(turn.id, 0))


async def until(holds: Any) -> None:
    loop = asyncio.get_running_loop()
    last = loop.time() + SOON
    while not await holds():
        assert loop.time() < last
        await asyncio.sleep(0.05)


def row_of(turn: Turn) -> Turn:
    return Turn.objects.get(id=turn.id)


async def now(turn: Turn) -> Turn:
    return await in_tenant(turn.tenant_id, row_of, turn)


async def lasts_longer(turn: Turn, than: Turn) -> bool:
    expires_at = (await now(turn)).lease_expires_at
    return bool(than.lease_expires_at and expires_at and expires_at > than.lease_expires_at)


def change(turn: Turn, **facts: Any) -> None:
    Turn.objects.filter(id=turn.id).update(**facts)


async def changed(turn: Turn, **facts: Any) -> None:
    await in_tenant(turn.tenant_id, change, turn, **facts)


async def ended(turn: Turn) -> bool:
    return (await now(turn)).state == TurnState.CANCELLED


def test_the_leases_of_all_tenants_turns_are_moved_on_and_one_that_is_cancelled_stops_alone(
    acme, other, settings
):
    settings.TURN_LEASE_SECONDS = 1.5

    async def story() -> None:
        ours, theirs = await hanging(acme), await hanging(other)
        for turn in (ours, theirs):
            before = await now(turn)
            await until(lambda turn=turn, before=before: lasts_longer(turn, before))
        keepers = [task for task in asyncio.all_tasks() if task.get_name() == "leases"]
        assert len(keepers) == 1
        await turns.cancel(actor=acme.owner, turn_id=ours.id)
        await until(lambda: ended(ours))
        before = await now(theirs)
        assert before.state == TurnState.RUNNING
        await until(lambda: lasts_longer(theirs, before))
        await turns.cancel(actor=other.owner, turn_id=theirs.id)
        await host.idle()
        assert await ended(theirs)

    run_coroutine(story())


def test_a_turn_that_another_host_has_is_left_to_it(acme, settings):
    settings.TURN_LEASE_SECONDS = 0.6

    async def story() -> None:
        turn = await hanging(acme)
        until_then = timezone.now() + timedelta(minutes=1)
        await changed(turn, lease_owner="another host", lease_expires_at=until_then)
        async with asyncio.timeout(SOON):
            await host.idle()
        left = await now(turn)
        assert (left.state, left.lease_owner) == (TurnState.RUNNING, "another host")
        last = await stream.last(turn.id)
        assert last is not None
        assert not last.final

    run_coroutine(story())


def test_a_turn_whose_session_is_deleted_is_not_gone_on_with(acme, settings):
    settings.TURN_LEASE_SECONDS = 0.6

    async def story() -> None:
        turn = await hanging(acme)
        delete = session_services.session_delete
        await in_tenant(acme.tenant.id, delete, actor=acme.owner, session_id=turn.session_id)
        async with asyncio.timeout(SOON):
            await host.idle()

    run_coroutine(story())
