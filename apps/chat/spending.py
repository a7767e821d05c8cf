"""What steps used, as the ledger keeps it (``somaagent.tenancy.ledger``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from somaagent.agent.messages import Usage
from somaagent.tenancy.ledger.models import UsageRecord
from somaagent.tenancy.payers import Payer
from somaagent.tenancy.scripts import fresh

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile

_PRICES = ("input_price", "cached_price", "output_price", "reasoning_price")


@dataclass(frozen=True, slots=True)
class Spent:
    """What one step used. ``profile``: the slug of the one that answered. ``estimated``: as in the ledger."""

    step: int
    usage: Usage
    profile: str = ""
    estimated: bool = False


def record_of(payer: Payer, spent: Spent, profiles: Sequence[ModelProfile]) -> UsageRecord:
    """The step as the ledger's row, with the prices of whichever of ``profiles`` answered."""
    profile = next((one for one in profiles if one.slug == spent.profile), None)
    prices = {name: getattr(profile, name) for name in _PRICES} if profile else {}
    return fresh(
        UsageRecord,
        tenant_id=payer.tenant_id,
        source=payer.source,
        run_id=payer.run_id,
        step=spent.step,
        user_id=payer.user_id,
        api_key_id=payer.key_id,
        agent_id=payer.agent_id,
        agent=payer.agent,
        profile=spent.profile,
        cost=spent.usage.cost,
        estimated=spent.estimated,
        **spent.usage.tokens(),
        **prices,
    )
