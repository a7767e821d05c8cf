"""Organisations of their own whose agent has tools."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tests.journeys.gateway import Gateway, Person

_numbers = itertools.count(1)
TIME = ("current_time", {"time_zone": "Europe/Paris"})
SUM = ("calculator", {"expression": "6 * 7"})


@dataclass(frozen=True)
class House:
    """Who lives there: a member, and the owner of the organisation."""

    tenant_id: UUID
    member: Person
    owner: Person


def house(gateway: Gateway) -> House:
    made: House = gateway.in_database(lambda: _house(gateway))
    return made


def calls(*wanted: tuple[str, Any]) -> str:
    """What has the scripted model ask for tools; then it repeats their results."""
    return "calls: " + json.dumps([{"name": name, "arguments": arguments} for name, arguments in wanted])


def _house(gateway: Gateway) -> House:
    from apps.sessions import services as sessions  # noqa: PLC0415 - Django is not configured before
    from apps.sessions.models import Agent  # noqa: PLC0415 - as above
    from somaagent.tenancy import services as tenancy  # noqa: PLC0415 - as above
    from somaagent.tenancy.models import Role  # noqa: PLC0415 - as above
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    number = next(_numbers)
    tenant = tenancy.tenant_create(slug=f"house-{number}", name=f"House {number}")
    with tenant_scope(tenant.id):
        profile = sessions.model_profile_ensure(
            tenant_id=tenant.id,
            slug="scripted",
            name="Scripted",
            base_url=gateway.model.base_url,
            model="scripted",
            max_retries=0,
        )
        agent = sessions.agent_ensure(
            tenant_id=tenant.id, slug="assistant", name="Assistant", instructions="", model_profile=profile
        )
        Agent.objects.filter(id=agent.id).update(tools=["calc*", "current_time"])
    people = []
    for role in (Role.MEMBER, Role.OWNER):
        password = tenancy.one_time_password()
        name = f"{role.value}-of-house-{number}"
        user = tenancy.user_create(username=name, password=password, is_staff=False, one_time=False)
        tenancy.membership_create(tenant=tenant, user=user, role=role)
        _, key = tenancy.api_key_create(tenant_id=tenant.id, user_id=user.id, name="journey")
        people.append(Person(name, password, key))
    return House(tenant.id, *people)


def lists_known(home: House) -> int:
    """Of how many of the house's MCP servers every host knows the tools. For ``in_database``."""
    from apps.tools.mcp.models import McpServer  # noqa: PLC0415 - Django is not configured before
    from somaagent import valkey  # noqa: PLC0415 - as above
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    with tenant_scope(home.tenant_id):
        rows = list(McpServer.objects.values_list("id", flat=True))
    client = valkey.blocking_client()
    keys = [key for row in rows for key in client.keys(f"soma:mcp:list:*{row}*")]
    return sum(client.hget(key, "read_at") is not None for key in keys)
