"""What is called a model at ``/v1``: the tenant's agents, and its model profiles that give embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apps.sessions import selectors as sessions

from . import completions

if TYPE_CHECKING:
    from apps.sessions.models import Agent, ModelProfile

AGENTS = "somaagent"
EMBEDDINGS = "somaagent-embeddings"


def models() -> list[dict[str, Any]]:
    """The agents first; ``owned_by`` tells which is which."""
    agents = [_model(agent, AGENTS) for agent in sessions.agent_list()]
    return agents + [_model(profile, EMBEDDINGS) for profile in sessions.embedding_profile_list()]


def model(name: str) -> dict[str, Any]:
    """One of them, the agent where both have the name. Raises ``model_not_found``."""
    found = next((one for one in models() if one["id"] == name), None)
    return found or _model(completions.agent_named(slug=name), AGENTS)


def _model(stored: Agent | ModelProfile, owner: str) -> dict[str, Any]:
    created = int(stored.created_at.timestamp())
    return {"id": stored.slug, "object": "model", "created": created, "owned_by": owner}
