"""Which of the credentials that are in use are still good: asked for many tenants at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone

from somaagent.tenancy import pool
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import ApiKey, Membership, Tenant, User
from somaagent.tenancy.scope import in_database, tenant_scope
from somaagent.tenancy.selectors import actor_by_api_key
from somaagent.tenancy.standing import Held, still_good
from tests.factories import key_of, organisation

pytestmark = pytest.mark.django_db(transaction=True)


def with_key(actor: Actor) -> Actor:
    known = actor_by_api_key(key_of(actor))
    assert known is not None
    return known


def _key(actor: Actor) -> QuerySet[ApiKey]:
    assert actor.key_id is not None
    return ApiKey.objects.filter(id=actor.key_id)


def _expire(actor: Actor) -> None:
    _key(actor).update(expires_at=timezone.now() - timedelta(seconds=1))


def _before() -> datetime:
    return timezone.now() - timedelta(seconds=1)


ENDINGS: dict[str, Callable[[Actor], object]] = {
    "revoked": lambda actor: _key(actor).update(revoked_at=timezone.now()),
    "expired": _expire,
    "deleted": lambda actor: _key(actor).delete(),
    "user off": lambda actor: User.objects.filter(id=actor.user_id).update(is_active=False),
    "tenant off": lambda actor: Tenant.objects.filter(id=actor.tenant_id).update(suspended_at=timezone.now()),
    "no membership": lambda actor: Membership.objects.filter(user_id=actor.user_id).delete(),
    "another role": lambda actor: Membership.objects.filter(user_id=actor.user_id).update(role="viewer"),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_what_has_ended_is_told_from_what_has_not(ending):
    def two() -> tuple[Actor, Actor]:
        ended, good = with_key(organisation("acme").owner), with_key(organisation("other").owner)
        with tenant_scope(ended.tenant_id):
            ENDINGS[ending](ended)
        return ended, good

    ended, good = await in_database(two)
    in_browser = [replace(actor, key_id=None, via="browser") for actor in (ended, good)]
    held = [Held.by(actor) for actor in (ended, good, *in_browser)]
    expected = {held[1], held[3]}
    if ending in {"revoked", "expired", "deleted"}:
        expected.add(held[2])  # their browser is as good as before
    assert await still_good(held) == expected
    await pool.close()


SESSION_ENDINGS: dict[str, Callable[[SessionStore], object]] = {
    "ended": lambda session: SessionStore().delete(session.session_key),
    "expired": lambda session: Session.objects.filter(pk=session.session_key).update(expire_date=_before()),
    "flushed": lambda session: session.flush(),
    "under a new key": lambda session: session.cycle_key(),
}


@pytest.mark.parametrize("ending", SESSION_ENDINGS)
async def test_a_browser_session_that_is_over_is_told_from_one_that_is_not(ending):
    def two() -> tuple[Held, Held]:
        actor = organisation("acme").owner
        ended, good = SessionStore(), SessionStore()
        for session in (ended, good):
            session.create()
        held = [Held.by(replace(actor, session_key=session.session_key)) for session in (ended, good)]
        SESSION_ENDINGS[ending](ended)
        return held[0], held[1]

    ended, good = await in_database(two)
    assert await still_good([ended, good]) == {good}
    await pool.close()


async def test_a_key_is_its_user_s_alone():
    def two() -> tuple[Actor, Actor]:
        return with_key(organisation("acme").owner), with_key(organisation("other").owner)

    mine, other = await in_database(two)
    assert await still_good([Held.by(replace(mine, key_id=other.key_id))]) == set()
    await pool.close()
