"""What a call to a model costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from somaagent.agent.messages import Usage

_A_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Prices:
    """For a million tokens of each kind, in one currency. ``None``: not known.

    ``cached`` is for the tokens of the input that the server had kept, ``reasoning`` for those of the
    output that are reasoning; where they are not known, such tokens cost what the others do.
    """

    input: Decimal | None = None
    cached: Decimal | None = None
    output: Decimal | None = None
    reasoning: Decimal | None = None


def priced(usage: Usage, prices: Prices) -> Usage:
    """The same usage with its cost, exact to the last digit.

    The cost is not known (``None``) where a token has no price, and where the server counted no token at
    all: each call reads some.
    """
    return replace(usage, cost=_cost(usage, prices))


def _cost(usage: Usage, prices: Prices) -> Decimal | None:
    if not usage.input_tokens and not usage.output_tokens:
        return None
    read = _both(usage.input_tokens, prices.input, usage.cached_tokens, prices.cached)
    written = _both(usage.output_tokens, prices.output, usage.reasoning_tokens, prices.reasoning)
    return None if read is None or written is None else (read + written) / _A_MILLION


def _both(tokens: int, price: Decimal | None, special: int, special_price: Decimal | None) -> Decimal | None:
    """``special`` of the ``tokens`` have a price of their own. No server may count more of those than
    there are.
    """
    special = min(special, tokens)
    return _sum(
        _times(tokens - special, price), _times(special, price if special_price is None else special_price)
    )


def _times(tokens: int, price: Decimal | None) -> Decimal | None:
    if not tokens:
        return Decimal(0)
    return None if price is None else tokens * price


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else one + other
