"""``/api/v1/agents``: who answers. Everybody reads them, owners and admins make them."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Query, Router, Status

from apps.sessions import agents as sessions
from apps.sessions import selectors
from apps.sessions.agent_schemas import AgentIn, AgentOut, AgentPatch
from somaagent.problems import PROBLEMS, Problem
from somaagent.tenancy.members import manages
from somaagent.web.idempotency import IdempotencyKey, idempotency_of
from somaagent.web.pagination import Page, PageQuery
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from . import agents
from .paging import page_told

router = Router(tags=["agents"])
router.add_decorator(in_tenant_of_actor)
TOOLS_AWAY: dict[int, type[Problem]] = {503: Problem}


@router.get("/agents", response={200: Page[AgentOut], **PROBLEMS})
def list_agents(request: HttpRequest, page: Query[PageQuery]) -> Any:
    """Agents that can be spoken to."""
    whole = manages(actor_of(request))
    return page_told(
        selectors.agent_list(), page, lambda rows: [AgentOut.of(row, whole=whole) for row in rows]
    )


@router.post("/agents", response={201: AgentOut, 409: Problem, **PROBLEMS, **TOOLS_AWAY})
def create_agent(request: HttpRequest, body: AgentIn, idempotency_key: IdempotencyKey = None) -> Any:
    """For owners and admins: an agent, with tools that there are. The first one is the default."""
    made = agents.agent_create(
        actor=actor_of(request),
        slug=body.slug,
        facts=body.facts(),
        idempotency=idempotency_of(idempotency_key, body),
    )
    return Status(201, AgentOut.of(made, whole=True))


@router.get("/agents/{slug:slug}", response={200: AgentOut, **PROBLEMS})
def read_agent(request: HttpRequest, slug: str) -> Any:
    return AgentOut.of(selectors.agent_read(slug=slug), whole=manages(actor_of(request)))


@router.patch("/agents/{slug:slug}", response={200: AgentOut, 409: Problem, **PROBLEMS, **TOOLS_AWAY})
def change_agent(request: HttpRequest, slug: str, body: AgentPatch) -> Any:
    """For owners and admins. Its next turns heed it."""
    changed = agents.agent_change(actor=actor_of(request), slug=slug, changes=body.changes())
    return AgentOut.of(changed, whole=True)


@router.delete("/agents/{slug:slug}", response={204: None, 409: Problem, **PROBLEMS})
def delete_agent(request: HttpRequest, slug: str) -> Any:
    """For owners and admins: an agent that nobody has a session with, and that is not the default one."""
    sessions.agent_delete(actor=actor_of(request), slug=slug)
    return Status(204, None)
