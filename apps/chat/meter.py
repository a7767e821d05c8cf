"""A model that is asked only while the budgets of its run have something left."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from somaagent.agent import tokens
from somaagent.agent.messages import ModelMessage
from somaagent.agent.ports import ChatModel, ModelChunk, ModelSettings, ToolSchema
from somaagent.observability import metrics
from somaagent.tenancy.budgets import statements as budgets
from somaagent.tenancy.budgets.standing import Standing, exceeded, price_missing
from somaagent.tenancy.patience import performed_patiently
from somaagent.tenancy.payers import Payer
from somaagent.tenancy.scripts import Last, Row, Script

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile

_A_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class MeteredModel:
    """A ``ChatModel`` each of whose requests is reserved in the budgets that apply, before it is sent.

    Reserved is what it may use at most: what it reads, as we count it (``ratio``: tokens that its server
    counts for each of ours), and all that it may write, at the dearest prices of the ``profiles`` that may
    answer. The reservation lasts ``seconds`` unless its holder moves its end on. Raises ``budget_exceeded``,
    and ``price_missing`` where a budget counts money and nobody knows how much.
    """

    model: ChatModel
    payer: Payer
    profiles: Sequence[ModelProfile]
    seconds: float
    ratio: float = 1.0

    async def stream(
        self,
        messages: Sequence[ModelMessage],
        *,
        tools: Sequence[ToolSchema] = (),
        settings: ModelSettings,
    ) -> AsyncGenerator[ModelChunk, None]:
        read = math.ceil(tokens.guess(messages, tools) * self.ratio)
        written = max(_most_written(profile, settings) for profile in self.profiles)
        await reserve(self.payer, self.profiles, read=read, written=written, seconds=self.seconds)
        async with aclosing(self.model.stream(messages, tools=tools, settings=settings)) as chunks:
            async for chunk in chunks:
                yield chunk


async def reserve(
    payer: Payer, profiles: Sequence[ModelProfile], *, read: int, written: int, seconds: float
) -> None:
    """Reserve for a request to a model that reads and writes so many tokens. Raises as ``MeteredModel``."""
    money = most_money(profiles, read, written)

    def script() -> Script[list[Row]]:
        *_, refused = yield Last(budgets.reserved(payer, tokens=read + written, money=money, seconds=seconds))
        return refused

    for *facts, unpriced in await performed_patiently(payer.tenant_id, script):
        standing = Standing(*facts)
        metrics.BUDGET_REFUSALS.labels(covers=standing.covers).inc()
        raise price_missing(standing) if unpriced else exceeded(standing)


def most_money(profiles: Sequence[ModelProfile], read: int, written: int) -> Decimal | None:
    """What a request costs at the dearest prices; None where a price is missing."""
    costs = [_cost(profile, read, written) for profile in profiles]
    known = [cost for cost in costs if cost is not None]
    return max(known) if len(known) == len(costs) else None


def _cost(profile: ModelProfile, read: int, written: int) -> Decimal | None:
    reading = _dearest(read, profile.input_price, profile.cached_price)
    writing = _dearest(written, profile.output_price, profile.reasoning_price)
    return None if reading is None or writing is None else (reading + writing) / _A_MILLION


def _dearest(count: int, price: Decimal | None, special: Decimal | None) -> Decimal | None:
    if not count:
        return Decimal(0)
    return None if price is None else count * max(price, special or price)


def _most_written(profile: ModelProfile, settings: ModelSettings) -> int:
    most: int = profile.max_output_tokens
    return min(settings.max_output_tokens or most, most)
