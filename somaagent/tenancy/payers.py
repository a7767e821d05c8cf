"""Who pays for a run: its tenant, user, API key and agent."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose budgets a run's steps count against, and where the ledger says they belong.

    ``source`` is one of ``ledger.models.Source``; ``run_id`` the turn's, or an id of its own. ``key_id``:
    None where no API key was used, ``agent_id`` where no agent answers.
    """

    tenant_id: UUID
    user_id: UUID
    source: str
    run_id: UUID
    key_id: UUID | None = None
    agent_id: UUID | None = None
    agent: str = ""
