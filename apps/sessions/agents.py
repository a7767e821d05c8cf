"""Agents, as owners and admins of a tenant make and change them. All run in the tenant's scope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError

from somaagent.errors import Kind, SomaError, invalid, not_found
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.entries import audit_entry_create, differences, who
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.members import require_manager

from . import faults, selectors
from .models import Agent, ModelProfile

MOST_AGENTS = 1_000
STAYS_DEFAULT = "Make another agent the default one: this one is it no more then."


def agent_create(
    *, actor: Actor, slug: str, facts: Mapping[str, Any], idempotency: Idempotency | None = None
) -> Agent:
    """A new agent; a tenant's first is its default.

    ``facts``: ``name`` and ``model_profile`` (a slug), and of ``instructions``, ``tools`` and ``is_default``
    what is not as usual. Raises ``agent_exists``, ``agents_too_many`` or ``invalid``.
    """
    require_manager(actor)
    if idempotency and (existing := idempotency.find(selectors.agent_list())):
        return existing
    if Agent.objects.count() >= MOST_AGENTS:
        sentence = f"A tenant has at most {MOST_AGENTS} agents: delete those that nobody needs."
        raise SomaError(Kind.CONFLICT, "agents_too_many", sentence)
    agent = Agent(tenant_id=actor.tenant_id, slug=slug, **(idempotency.columns() if idempotency else {}))
    _take(agent, facts)
    faults.check(agent)
    try:
        with transaction.atomic():
            agent_keep(agent)
    except IntegrityError as error:
        # Sent twice at the same moment: the other one was first.
        if idempotency and (existing := idempotency.find(selectors.agent_list())):
            return existing
        raise _twice(error) from error
    _told(actor, agent.pk, "created", {"slug": slug, **_shown(agent)})
    return agent


def agent_change(*, actor: Actor, slug: str, changes: Mapping[str, Any]) -> Agent:
    """``changes``: of ``agent_create``'s facts those that are to be others. The next turns heed them.

    Raises ``agent_is_default`` where the default would be none any more.
    """
    if changes.get("is_default"):
        require_manager(actor)
        _one_at_a_time()
    agent = _held(actor, slug)
    before, words = _shown(agent), agent.instructions
    if agent.is_default and changes.get("is_default") is False:
        raise _default(STAYS_DEFAULT)
    _take(agent, changes)
    faults.check(agent)
    try:
        with transaction.atomic():
            agent_keep(agent)
    except IntegrityError as error:
        raise _twice(error) from error
    changed = differences(before, _shown(agent))
    if agent.instructions != words:
        changed["instructions"] = "others"
    if changed:
        _told(actor, agent.pk, "changed", {"slug": slug, "values": changed})
    return agent


def agent_delete(*, actor: Actor, slug: str) -> None:
    """Delete an agent that nobody has spoken with. Schedules that ask it say from then on that it is gone.

    Raises ``agent_is_default`` or ``agent_in_use``.
    """
    agent = _held(actor, slug)
    if agent.is_default:
        raise _default("This is the default agent: make another one the default first.")
    agent_id, facts = agent.pk, {"slug": slug, **_shown(agent)}
    try:
        with transaction.atomic():
            agent.delete()
            connection.check_constraints()  # now: somebody may have begun a session meanwhile
    except (ProtectedError, IntegrityError) as error:
        sentence = (
            "There are sessions with this agent: they have to be deleted first. It can be changed meanwhile."
        )
        raise SomaError(Kind.CONFLICT, "agent_in_use", sentence) from error
    _told(actor, agent_id, "deleted", facts)


def agent_keep(agent: Agent) -> None:
    """Save an agent. A default one takes the place of the one that was; without any, this is it."""
    others = Agent.objects.filter(is_default=True).exclude(pk=agent.pk)
    agent.is_default = agent.is_default or not others.exists()
    if agent.is_default:
        _one_at_a_time()
        others.update(is_default=False)
    agent.save()


def _one_at_a_time() -> None:
    """Two agents that become the default wait for each other here, before they hold a row of their own."""
    list(Agent.objects.select_for_update(no_key=True).order_by("pk").values_list("pk"))


def _held(actor: Actor, slug: str) -> Agent:
    """The agent, until the transaction's end nobody else's to change."""
    require_manager(actor)
    rows = selectors.agent_list().select_for_update(of=("self",), no_key=True)
    agent = rows.filter(slug=slug).first()
    if agent is None:
        raise not_found("agent")
    return agent


def _take(agent: Agent, facts: Mapping[str, Any]) -> None:
    for name in ("name", "instructions", "tools", "is_default"):
        if name in facts:
            setattr(agent, name, facts[name])
    if "model_profile" in facts:
        profile = ModelProfile.objects.filter(slug=facts["model_profile"]).first()
        if profile is None:
            sentence = "There is no such model profile: /api/v1/model-profiles lists them."
            raise invalid("body.model_profile", sentence)
        agent.model_profile = profile


def _shown(agent: Agent) -> dict[str, Any]:
    """As the audit tells an agent: not what it is instructed."""
    return {
        "name": agent.name,
        "model_profile": agent.model_profile.slug,
        "tools": list(agent.tools),
        "is_default": agent.is_default,
    }


def _twice(error: IntegrityError) -> SomaError:
    if faults.constraint_of(error) == "agent_one_default_a_tenant":
        sentence = "Another agent became the default one at the same moment: send it again."
        return SomaError(Kind.CONFLICT, "agent_default_taken", sentence)
    sentence = "There is an agent of this slug already: choose another, or change that one."
    return SomaError(Kind.CONFLICT, "agent_exists", sentence)


def _default(sentence: str) -> SomaError:
    return SomaError(Kind.CONFLICT, "agent_is_default", sentence)


def _told(actor: Actor, agent_id: UUID, what: str, facts: Mapping[str, Any]) -> None:
    audit_entry_create(
        by=who(actor), action=f"agent.{what}", target_type="agent", target_id=agent_id, facts=facts
    )
