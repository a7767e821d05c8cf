"""A script that looks and writes in one message: without what it needs, nothing of it has happened."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from apps.sessions.models import Agent
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import Last, Missed, Script, Statement, needed, perform, performed
from tests.factories import Organisation, organisation

pytestmark = pytest.mark.django_db(transaction=True)

NAMED = "SELECT name FROM agent_sessions_agent WHERE id = %(agent)s FOR UPDATE"
RENAME = "UPDATE agent_sessions_agent SET name = %(name)s"


def renamed(looked_for: UUID, name: str) -> Script[str]:
    """All of the tenant's agents, if that one is there; says what it was called, or who is missed."""
    try:
        (found, *_), _ = yield Last(
            [needed(Statement(NAMED, {"agent": looked_for})), Statement(RENAME, {"name": name})]
        )
    except Missed:
        ((missed,),) = (yield [Statement("SELECT count(*) FROM agent_sessions_agent", {})])[0]
        return f"missed, of {missed}"
    return str(found[0])


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


def name_of(acme: Organisation) -> str:
    with tenant_scope(acme.tenant.id):
        return Agent.objects.get().name


def test_over_the_pool(acme):
    assert run_coroutine(perform(acme.tenant.id, renamed(acme.agent.id, "Helper"))) == "Assistant"
    assert name_of(acme) == "Helper"
    assert run_coroutine(perform(acme.tenant.id, renamed(uuid4(), "Nobody"))) == "missed, of 1"
    assert name_of(acme) == "Helper"


def test_within_a_transaction_that_goes_on(acme):
    with tenant_scope(acme.tenant.id):
        assert performed(renamed(uuid4(), "Nobody")) == "missed, of 1"
        assert performed(renamed(acme.agent.id, "Helper")) == "Assistant"
    assert name_of(acme) == "Helper"
