"""A tenant that has agents has a default one, whoever makes, changes or deletes them in the admin."""

from __future__ import annotations

from typing import Any

import pytest

from apps.sessions.agents import STAYS_DEFAULT
from apps.sessions.models import Agent
from somaagent.tenancy.models import Role
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, operator_client, organisation, person

pytestmark = pytest.mark.django_db

AGENTS = "/admin/agent_sessions/agent/"


@pytest.fixture
def home() -> Organisation:
    return organisation("home")


@pytest.fixture
def operator(home) -> Any:
    return operator_client(person("operator", home.tenant, Role.ADMIN))


def default_of(home: Organisation) -> str:
    with tenant_scope(home.tenant.id):
        return Agent.objects.get(is_default=True).slug


def form(home: Organisation, name: str, **more: str) -> dict[str, str]:
    profile = str(home.agent.model_profile_id)
    return {"name": name, "slug": name, "model_profile": profile, "tools": ""} | more


def test_the_default_agent_hands_over_before_it_goes(home, operator):
    first = default_of(home)
    its_form, its_end = f"{AGENTS}{home.agent.id}/change/", f"{AGENTS}{home.agent.id}/delete/"
    assert STAYS_DEFAULT in operator.post(its_form, form(home, first)).content.decode()
    assert "the default agent: make another one it first" in operator.get(its_end).content.decode()
    operator.post(its_end, {"post": "yes"})
    several = {"action": "delete_selected", "_selected_action": [str(home.agent.id)], "post": "yes"}
    operator.post(AGENTS, several)
    assert default_of(home) == first
    assert operator.post(f"{AGENTS}add/", form(home, "second", is_default="on")).status_code == 302
    assert default_of(home) == "second"
    assert operator.post(its_end, {"post": "yes"}).status_code == 302
    with tenant_scope(home.tenant.id):
        assert [agent.slug for agent in Agent.objects.all()] == ["second"]


def test_the_first_agent_is_the_default_one(home, operator):
    with tenant_scope(home.tenant.id):
        Agent.objects.all().delete()
    assert operator.post(f"{AGENTS}add/", form(home, "only")).status_code == 302
    assert default_of(home) == "only"
