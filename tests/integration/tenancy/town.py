"""Two organisations: in one somebody has one of everything, in the other somebody asks for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.test import Client

import somaagent.celery  # noqa: F401 messages are sent to this application's broker
from apps.chat import hosting
from apps.chat.hosting import Outcome
from apps.chat.models import Turn, TurnState
from apps.chat.responses.ids import CONVERSATION, RESPONSE, name_of
from apps.chat.responses.schemas import ResponseIn
from apps.chat.responses.services import response_submit
from apps.chat.webhooks.models import WebhookDelivery
from apps.sessions import services as sessions
from apps.tools.mcp.models import McpServer
from apps.tools.models import ToolCallRecord
from somaagent.agent.messages import Usage
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import Membership, Scope
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import performed
from tests.factories import Organisation, key_of, operator_client, organisation, person, submitted, taken


@dataclass(frozen=True)
class Program:
    """A caller with an API key."""

    key: str

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        host = {"host": settings.ALLOWED_HOSTS[0], "authorization": f"Bearer {self.key}"}
        data = b"" if body is None else json.dumps(body)
        client = Client(headers={**host, **given})
        return client.generic(method.upper(), path, data=data, content_type="application/json")

    def made(self, path: str, body: Any) -> Any:
        """What a POST made, as the API describes it."""
        answer = self.call("POST", path, body)
        assert answer.status_code in {200, 201}, answer.content
        return answer.json()


@dataclass(frozen=True)
class Town:
    """``ids``: of what the member has, by the names that the walk gives them."""

    acme: Organisation
    other: Organisation
    member: Program
    outsider: Program
    operator: Program
    ids: Mapping[str, str]
    running: Turn


def town() -> Town:
    acme, other = organisation("acme"), organisation("other")
    member, outsider = Program(key_of(acme.owner)), Program(key_of(other.owner))
    _only_here(acme)
    webhook = member.made("/api/v1/webhooks", {"url": "https://receiver.example/hook"})
    finished = _turn(acme.owner)
    _finish(finished)
    running = _turn(acme.owner)
    with tenant_scope(acme.tenant.id):
        taken(running)
    response = _response(acme.owner)
    _finish(response)
    operator = _operator()
    ids = {
        "tenant": str(acme.tenant.id),
        "user": str(acme.owner.user_id),
        "budget": _budget(member),
        "agent": "only-here",
        "model profile": "only-here",
        "another agent": _another_agent(member),
        "own model profile": _own_profile(member),
        "session": str(finished.session_id),
        "turn": str(finished.id),
        "running turn": str(running.id),
        "response": name_of(RESPONSE, response.id),
        "conversation": _conversation(member),
        "webhook": webhook["id"],
        "delivery": str(_delivery(acme, finished)),
        "schedule": _schedule(member),
        "API key": member.made("/api/v1/api-keys", {"name": "another"})["id"],
        "member": _colleague(acme),
        "call of a tool": str(_called(acme, finished)),
        "MCP server": str(_server(acme)),
        "invitation": member.made("/api/v1/invitations", {"role": "viewer"})["id"],
    }
    return Town(acme, other, member, outsider, operator, ids, running)


def leave(of: Town) -> None:
    """End what runs: nobody is to take it over."""
    with tenant_scope(of.acme.tenant.id):
        Turn.objects.filter(id=of.running.id).delete()


def _only_here(acme: Organisation) -> None:
    """An agent and a model profile that the other organisation has no namesakes of."""
    facts: dict[str, Any] = {"tenant_id": acme.tenant.id, "slug": "only-here", "name": "Only here"}
    with tenant_scope(acme.tenant.id):
        profile = sessions.model_profile_ensure(**facts, base_url="http://model.invalid/v1", model="scripted")
        sessions.agent_ensure(**facts, instructions="", model_profile=profile)


def _another_agent(member: Program) -> str:
    """One that nobody has spoken with."""
    body = {"slug": "never-asked", "name": "Never asked", "model_profile": "only-here"}
    made: str = member.made("/api/v1/agents", body)["slug"]
    return made


def _own_profile(member: Program) -> str:
    """One that owners and admins made, and no agent speaks with."""
    body = {
        "slug": "of-theirs",
        "name": "Of theirs",
        "base_url": "https://model.example.org/v1",
        "model": "large",
    }
    made: str = member.made("/api/v1/model-profiles", body)["slug"]
    return made


def _colleague(acme: Organisation) -> str:
    colleague = person("colleague", acme.tenant)
    with tenant_scope(acme.tenant.id):
        return str(Membership.objects.get(user_id=colleague.user_id).id)


def _turn(actor: Actor) -> Turn:
    with tenant_scope(actor.tenant_id):
        return submitted(actor, "What is the capital of France?").turn


def _response(actor: Actor) -> Turn:
    asked = ResponseIn.model_validate(
        {"model": "assistant", "input": "What is the capital of France?"}
    ).told()
    with tenant_scope(actor.tenant_id):
        return performed(response_submit(actor=actor, asked=asked)).turn


def _finish(turn: Turn) -> None:
    with tenant_scope(turn.tenant_id):
        outcome = Outcome(TurnState.COMPLETED, "Paris.", Usage(5, 0, 2, 0), last_event=4)
        performed(hosting.turn_finish(work=taken(turn), outcome=outcome))


def _called(acme: Organisation, turn: Turn) -> UUID:
    """A call of a tool on record."""
    with tenant_scope(acme.tenant.id):
        return ToolCallRecord.objects.create(
            tenant=acme.tenant,
            user_id=acme.owner.user_id,
            turn_id=turn.id,
            call_id="call-1",
            tool="calculator",
            arguments={},
            outcome="ok",
        ).id


def _server(acme: Organisation) -> UUID:
    with tenant_scope(acme.tenant.id):
        return McpServer.objects.create(
            tenant=acme.tenant, slug="post", name="Post", url="https://mcp.example.org/mcp"
        ).id


def _conversation(member: Program) -> str:
    made: str = member.made("/v1/conversations", {})["id"]
    assert made.startswith(CONVERSATION)
    return made


def _delivery(acme: Organisation, turn: Turn) -> UUID:
    with tenant_scope(acme.tenant.id):
        return WebhookDelivery.objects.get(turn=turn).id


def _operator() -> Program:
    """Of an organisation of their own, with a key that operates the platform."""
    home = organisation("platform")
    operator_client(home.owner)
    return Program(key_of(home.owner, scopes=list(Scope)))


def _budget(member: Program) -> str:
    body = {"name": "All", "covers": "tenant", "measure": "money", "period": "month", "amount": "250"}
    made: str = member.made("/api/v1/admin/budgets", body)["id"]
    return made


def _schedule(member: Program) -> str:
    body = {"prompt": "Anything new?", "cron": "0 7 * * *", "time_zone": "Europe/Paris", "enabled": False}
    made: str = member.made("/api/v1/schedules", body)["id"]
    return made
