"""Stories of what a model's answers cost, to the last digit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from somaagent.agent import tokens
from somaagent.agent.messages import NOTHING_USED, ModelMessage, Usage
from somaagent.agent.models.fallback import Candidate, FallbackModel
from somaagent.agent.models.session import open_session
from somaagent.agent.ports import ChatModel, ModelSettings
from somaagent.agent.prices import Prices, priced
from somaagent.money import decimal_text
from tests import model_server
from tests.unit.agent.conftest import KEY, Bench, finish_of

ALL = Prices(Decimal("2.5"), Decimal("0.25"), Decimal(10), Decimal(12))
USED = Usage(input_tokens=1000, cached_tokens=400, output_tokens=100, reasoning_tokens=30)


@pytest.fixture
async def other() -> AsyncIterator[Bench]:
    """A second model server."""
    async with model_server.serve(KEY) as url, open_session() as session:
        yield Bench(url, session)


@pytest.mark.parametrize(
    ("prices", "cost"),
    [
        # 600 · 2.5 + 400 · 0.25 + 70 · 10 + 30 · 12, of a million
        (ALL, "0.00266"),
        (Prices(Decimal("2.5"), None, Decimal(10), None), "0.0035"),
        (Prices(Decimal(0), None, Decimal(0), None), "0"),
        (Prices(Decimal("0.000001"), Decimal("0.000003"), Decimal(0)), "0.0000000018"),
        (Prices(None, Decimal("0.25"), Decimal(10), Decimal(12)), None),
        (Prices(Decimal("2.5"), Decimal("0.25"), None, Decimal(12)), None),
        (Prices(), None),
    ],
)
def test_cached_and_reasoning_tokens_have_prices_of_their_own_or_cost_what_the_others_do(prices, cost):
    assert decimal_text(priced(USED, prices).cost) == cost


def test_a_price_is_needed_only_for_tokens_that_there_are():
    reads_only = Prices(input=Decimal(1))
    assert decimal_text(priced(Usage(input_tokens=7), reads_only).cost) == "0.000007"
    all_cached = Prices(cached=Decimal(1), output=Decimal(1))
    assert decimal_text(priced(Usage(7, 7, 1), all_cached).cost) == "0.000008"


def test_a_server_that_counts_nothing_leaves_the_cost_unknown():
    assert priced(Usage(), ALL).cost is None


def test_a_server_that_counts_more_cached_tokens_than_tokens_is_not_believed():
    assert decimal_text(priced(Usage(10, 999, 10, 999), ALL).cost) == "0.0001225"


def test_a_sum_is_known_where_all_of_it_is():
    one = priced(USED, ALL)
    assert decimal_text((NOTHING_USED + one + one).cost) == "0.00532"
    assert (NOTHING_USED + one + priced(USED, Prices())).cost is None


@pytest.mark.parametrize(
    ("amount", "text"),
    [("100", "100"), ("1E+3", "1000"), ("0.10", "0.1"), ("1E-12", "0.000000000001"), ("0.00", "0")],
)
def test_money_is_written_without_exponent_and_idle_zeros(amount, text):
    assert decimal_text(Decimal(amount)) == text


def test_usage_comes_back_from_the_wire_with_its_cost_and_from_before_there_were_costs_without():
    written = priced(USED, ALL)
    assert Usage.from_data(written.data()) == written
    assert written.data()["cost"] == "0.00266"
    assert Usage.from_data(USED.tokens()) == USED


async def test_whoever_answered_is_named_and_has_its_own_prices(bench: Bench, other: Bench):
    def candidate(name: str, bench: Bench, price: str) -> Candidate:
        async def opened() -> ChatModel:
            return bench.model()

        return Candidate(name, opened, prices=Prices(Decimal(price), Decimal(price), Decimal(price)))

    model = FallbackModel(
        [candidate("dear", bench, "1000"), candidate("cheap", other, "1")], on_failure=lambda *_: None
    )

    async def finish():
        question = [ModelMessage("user", "say: an answer")]
        return finish_of([chunk async for chunk in model.stream(question, settings=ModelSettings())])

    dear = await finish()
    assert (dear.profile, decimal_text(dear.usage.cost)) == ("dear", "0.005")
    await bench.script("fail 401")
    cheap = await finish()
    assert (cheap.profile, decimal_text(cheap.usage.cost)) == ("cheap", "0.000005")


@pytest.mark.parametrize("told", [-3, 10**12, "many", None, {"all": 3}, float("inf")])
def test_a_count_that_cannot_be_one_counts_nothing(told):
    assert tokens.told(told) == 0
    assert (tokens.told(12), tokens.told(12.0)) == (12, 12)
