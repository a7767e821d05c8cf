"""Actors and their things. Names are unique, so that committed rows of one story never meet another's."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.test import Client

from apps.chat import hosting, services
from apps.chat.models import Turn
from apps.chat.services import Submitted
from apps.chat.work import Work
from apps.sessions import services as sessions
from apps.sessions.models import Agent
from somaagent.errors import SomaError
from somaagent.tenancy import services as tenancy
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import Role, Tenant, User
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import performed
from somaagent.tenancy.selectors import actor_by_api_key, actor_by_user

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Organisation:
    """A tenant with its owner and an agent whose model is wherever ``model_url`` says."""

    tenant: Tenant
    owner: Actor
    agent: Agent


def person(name: str, tenant: Tenant, role: Role = Role.MEMBER) -> Actor:
    """A user with a membership, as an actor. They have no password: hashing one takes a third of a second."""
    user = User.objects.create(username=f"{name}-{next(_numbers)}-{tenant.slug}", password="!")
    tenancy.membership_create(tenant=tenant, user=user, role=role)
    actor = actor_by_user(user.id)
    assert actor is not None
    return actor


def organisation(name: str = "acme", *, model_url: str = "http://model.invalid/v1") -> Organisation:
    tenant = tenancy.tenant_create(slug=f"{name}-{next(_numbers)}", name=name.title())
    with tenant_scope(tenant.id):
        profile = sessions.model_profile_ensure(
            tenant_id=tenant.id,
            slug="scripted",
            name="Scripted",
            base_url=model_url,
            model="scripted",
            max_retries=0,
        )
        agent = sessions.agent_ensure(
            tenant_id=tenant.id,
            slug="assistant",
            name="Assistant",
            instructions="Answer.",
            model_profile=profile,
        )
    return Organisation(tenant, person("owner", tenant, Role.OWNER), agent)


def key_of(actor: Actor, **facts: object) -> str:
    """A new API key of an actor, as text."""
    return tenancy.api_key_create(
        tenant_id=actor.tenant_id,
        user_id=actor.user_id,
        name="test",
        **facts,  # type: ignore[arg-type]
    )[1]


def keyed(actor: Actor, **facts: object) -> Actor:
    """The same actor, by a new API key of theirs."""
    found = actor_by_api_key(key_of(actor, **facts))
    assert found is not None
    return found


def submitted(actor: Actor, text: str, **facts: Any) -> Submitted:
    """What becomes of an input, on the connection of the story."""
    return performed(services.turn_submit(actor=actor, text=text, **facts))


def claimed(turn: Turn, owner: str = "test") -> Work | None:
    """The turn's work, if a host can take it."""
    return performed(hosting.turn_claim(tenant_id=turn.tenant_id, turn_id=turn.id, owner=owner))


def taken(turn: Turn, owner: str = "test") -> Work:
    """The turn's work, after a host took it."""
    work = claimed(turn, owner)
    assert work is not None
    return work


def at_once(*deeds: Callable[[], object]) -> list[str]:
    """What came of deeds that are done at the same moment: ``done``, or the code of an error, in order."""

    def outcome(deed: Callable[[], object]) -> str:
        try:
            deed()
        except SomaError as error:
            return error.code
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(len(deeds)) as threads:
        return list(threads.map(outcome, deeds))


def user_of(actor: Actor) -> User:
    return User.objects.get(id=actor.user_id)


def operator_client(actor: Actor) -> Client:
    """A browser in which the actor, made an operator, is signed in."""
    user = user_of(actor)
    user.is_staff = user.is_superuser = True
    user.save()
    client = Client(headers={"host": settings.ALLOWED_HOSTS[0]})
    client.force_login(user)
    return client
