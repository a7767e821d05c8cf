"""Agents with tools that there are, as owners and admins make and change them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from apps.admin.tools import unmatched
from apps.sessions import agents as sessions
from apps.sessions import selectors
from apps.tools.toolbox import tools_of
from somaagent.background import run_coroutine
from somaagent.errors import invalid
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.members import require_manager

if TYPE_CHECKING:
    from apps.sessions.models import Agent


def agent_create(
    *, actor: Actor, slug: str, facts: Mapping[str, Any], idempotency: Idempotency | None = None
) -> Agent:
    """See ``apps.sessions.agents.agent_create``. Raises ``invalid`` where no tool has one of the names."""
    require_manager(actor)
    if idempotency and (existing := idempotency.find(selectors.agent_list())):
        return existing  # whatever became of its tools
    _refuse_unknown(actor, facts.get("tools", ()))
    return sessions.agent_create(actor=actor, slug=slug, facts=facts, idempotency=idempotency)


def agent_change(*, actor: Actor, slug: str, changes: Mapping[str, Any]) -> Agent:
    """See ``apps.sessions.agents.agent_change``. Names that the agent has already may be of no tool now."""
    require_manager(actor)
    known = selectors.agent_read(slug=slug).tools
    _refuse_unknown(actor, [name for name in changes.get("tools", ()) if name not in known])
    return sessions.agent_change(actor=actor, slug=slug, changes=changes)


def _refuse_unknown(actor: Actor, names: Iterable[str]) -> None:
    wanted = list(names)
    if not wanted:
        return
    if strange := unmatched(wanted, run_coroutine(tools_of(actor.tenant_id))):
        raise invalid("body.tools", f"No tool has these names: {', '.join(strange[:10])}.")
