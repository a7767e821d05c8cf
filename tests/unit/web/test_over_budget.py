"""What clients are told where a budget is used up."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus

from somaagent.agent.failures import is_retryable
from somaagent.problems import STATUS
from somaagent.tenancy.budgets.standing import Standing, exceeded, price_missing
from somaagent.web.openai_errors import status_of, told

BUDGET = Standing("Team", "api_key", None, "money", "month", Decimal("12.500000"), Decimal(13), Decimal(0))


def test_it_is_402_in_both_shapes_and_names_the_budget():
    error = exceeded(BUDGET)
    assert (STATUS[error.kind], status_of(error)) == (
        HTTPStatus.PAYMENT_REQUIRED,
        HTTPStatus.PAYMENT_REQUIRED,
    )
    body = told(error)["error"]
    assert (body["code"], body["type"]) == ("budget_exceeded", "insufficient_quota")
    assert "“Team” (12.5 money a month, for this API key) is used up. It begins anew" in body["message"]
    assert not is_retryable(error)


def test_a_month_ends_with_the_first_of_the_next_and_a_day_tomorrow():
    today = datetime.now(UTC).date()
    assert BUDGET.ends().day == 1
    assert 0 < (BUDGET.ends() - today).days <= 31


def test_a_missing_price_is_no_used_up_budget():
    assert (price_missing(BUDGET).code, STATUS[price_missing(BUDGET).kind]) == (
        "price_missing",
        HTTPStatus.CONFLICT,
    )
