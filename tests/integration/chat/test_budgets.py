"""Budgets: reserved before a step, settled after it, and a hard stop where nothing is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, aclosing, contextmanager
from datetime import timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.chat import completions, embeddings, host, hosting, turns
from apps.chat.embeddings import Wanted
from apps.chat.meter import reserve
from apps.chat.models import Turn, TurnState
from apps.chat.responses import flow
from apps.chat.responses.schemas import ResponseIn
from somaagent.agent.messages import ModelMessage
from somaagent.agent.ports import ModelSettings
from somaagent.background import run_coroutine
from somaagent.errors import Kind, SomaError
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.budgets import statements as budgets
from somaagent.tenancy.budgets.models import Budget, BudgetCount, Reservation
from somaagent.tenancy.budgets.services import budget_create, budgets_delete
from somaagent.tenancy.ledger.models import UsageRecord
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import performed, rows_of
from somaagent.web import openai_errors
from tests import model_server
from tests.factories import Organisation, keyed, operator_client, organisation, person, submitted, taken

from .scripted import answered, change, profile

pytestmark = pytest.mark.django_db(transaction=True)
DEAR = {"input_price": Decimal(1000), "output_price": Decimal(1000)}


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    with model_server.process() as url:
        yield f"{url}/v1"


@pytest.fixture
def acme(model) -> Organisation:
    made = organisation("acme", model_url=model)
    change(made, max_output_tokens=16, **DEAR)
    return made


def budget(acme: Organisation, amount: float, **facts: Any) -> Budget:
    given = {"name": "Team", "covers": "tenant", "measure": "tokens", "period": "day"} | facts
    with tenant_scope(acme.tenant.id):
        return budget_create(tenant_id=acme.tenant.id, amount=Decimal(amount), **given)


def spent(acme: Organisation, found: Budget) -> Decimal:
    with tenant_scope(acme.tenant.id):
        return BudgetCount.objects.get(budget=found).spent


def reserved(acme: Organisation) -> int:
    with tenant_scope(acme.tenant.id):
        return Reservation.objects.count()


def used(acme: Organisation) -> int:
    with tenant_scope(acme.tenant.id):
        return sum(row.input_tokens + row.output_tokens for row in UsageRecord.objects.all())


def refused(acme: Organisation, actor: Actor, text: str = "say: more", **facts: Any) -> SomaError:
    with pytest.raises(SomaError) as raised, tenant_scope(acme.tenant.id):
        submitted(actor, text, **facts)
    return raised.value


async def read(events: Any) -> None:
    async with aclosing(events):
        async for _ in events:
            pass


def test_what_a_step_used_is_counted_and_its_reservation_ends(acme):
    team = budget(acme, 1000)
    assert answered(acme, "say: one two").state == TurnState.COMPLETED
    assert spent(acme, team) == used(acme)
    assert reserved(acme) == 0


def test_money_is_counted_to_its_last_digit(acme):
    team = budget(acme, 5, measure="money", period="month")
    turn = answered(acme, "say: one two")
    assert spent(acme, team) == turn.cost > 0


def test_where_nothing_is_left_a_turn_is_refused_and_the_budget_named(acme):
    budget(acme, 1, name="Pocket money")
    answered(acme, "say: the last words")
    error = refused(acme, acme.owner)
    assert (error.kind, error.code) == (Kind.OVER_BUDGET, "budget_exceeded")
    assert "“Pocket money” (1 tokens a day, for the whole organisation)" in error.message
    with tenant_scope(acme.tenant.id):
        assert Turn.objects.count() == 1


@pytest.mark.parametrize("covers", ["user", "api_key", "agent"])
def test_a_budget_binds_whom_it_covers_and_nobody_else(acme, covers):
    member = keyed(person("member", acme.tenant))
    subject = {"user": member.user_id, "api_key": member.key_id, "agent": acme.agent.id}[covers]
    budget(acme, 0, covers=covers, subject_id=subject)
    assert refused(acme, member).code == "budget_exceeded"
    if covers == "agent":
        assert refused(acme, acme.owner).code == "budget_exceeded"
    else:
        assert answered(acme, "say: not mine").state == TurnState.COMPLETED


def test_a_new_period_begins_with_nothing_spent(acme):
    team = budget(acme, 1)
    answered(acme, "say: yesterday")
    with tenant_scope(acme.tenant.id):
        BudgetCount.objects.update(starts=F("starts") - timedelta(days=1))
    assert answered(acme, "say: today").state == TurnState.COMPLETED
    with tenant_scope(acme.tenant.id):
        assert BudgetCount.objects.filter(budget=team).count() == 2


def test_a_new_budget_knows_what_its_period_has_used_before(acme):
    answered(acme, "say: before there was a budget")
    assert spent(acme, budget(acme, 1000)) == used(acme) > 0


def test_a_turn_that_runs_out_between_its_steps_fails_with_the_budget_named(acme):
    with tenant_scope(acme.tenant.id):
        acme.agent.tools = ["calculator"]
        acme.agent.save()
    budget(acme, 1, name="Pocket money")
    turn = answered(acme, 'calls: [{"name": "calculator", "arguments": {"expression": "1+1"}}]')
    assert (turn.state, turn.error_code, turn.error_retryable) == (
        TurnState.FAILED, "budget_exceeded", False,
    )  # fmt: skip
    assert "Pocket money" in turn.error_message
    with tenant_scope(acme.tenant.id):
        assert [row.step for row in UsageRecord.objects.all()] == [1]


def test_who_waits_for_a_response_that_runs_out_is_told_it_is_the_budget(acme):
    """Not that a server failed: clients act on the status."""
    with tenant_scope(acme.tenant.id):
        acme.agent.tools = ["calculator"]
        acme.agent.save()
    budget(acme, 1, name="Pocket money")
    call = 'calls: [{"name": "calculator", "arguments": {"expression": "1+1"}}]'
    body = ResponseIn.model_validate({"model": "assistant", "input": call})

    async def waited() -> None:
        turn = await flow.create(actor=acme.owner, asked=body.told(), idempotency=None)
        await flow.finished(actor=acme.owner, turn=turn)

    with pytest.raises(SomaError, match="Pocket money") as failed:
        run_coroutine(waited())
    assert openai_errors.status_of(failed.value) == HTTPStatus.PAYMENT_REQUIRED
    assert openai_errors.told(failed.value)["error"]["type"] == "insufficient_quota"


def test_a_hundred_parallel_turns_overshoot_by_no_more_than_one_step(acme, capsys):
    """Wave after wave, until nobody is let in any more."""
    people = [person(f"member{number}", acme.tenant) for number in range(100)]
    team, waves = budget(acme, 1500), 0

    async def all_at_once() -> list[Any]:
        asked = (turns.submit(actor=actor, text="slow 0.01: one two three four") for actor in people)
        made = await asyncio.gather(*asked, return_exceptions=True)
        await host.idle()
        return made

    while any(isinstance(one, Turn) for one in run_coroutine(all_at_once())):
        waves += 1
    with tenant_scope(acme.tenant.id):
        states = list(Turn.objects.values_list("state", "error_code"))
        steps = [row.input_tokens + row.output_tokens for row in UsageRecord.objects.all()]
    assert set(states) == {("completed", ""), ("failed", "budget_exceeded")}
    assert reserved(acme) == 0
    assert spent(acme, team) == sum(steps)
    over, done = sum(steps) - 1500, states.count(("completed", ""))
    with capsys.disabled():
        print(
            f"\n{waves} waves of 100 turns at a budget of 1500 tokens: {done} were answered, {sum(steps)} "
            f"tokens spent, {over} over it, and a step has up to {max(steps)}"
        )
    assert 0 <= over < max(steps)


def test_what_a_dead_host_has_reserved_comes_back(acme):
    budget(acme, 20)
    with tenant_scope(acme.tenant.id):
        work = taken(submitted(acme.owner, "say: never").turn, "a host that dies")
    run_coroutine(reserve(work.payer(), work.conversation.profiles, read=30, written=0, seconds=60))
    assert "held by what is running now" in refused(acme, acme.owner).message
    with tenant_scope(acme.tenant.id):
        renewed = performed(hosting.turns_renew(works=[work]))
        assert renewed == {work.turn_id: TurnState.RUNNING}
        Reservation.objects.update(expires_at=timezone.now())
    assert answered(acme, "say: at last").state == TurnState.COMPLETED
    assert reserved(acme) == 0


def test_a_model_that_fails_leaves_the_budget_as_it_was(acme):
    team = budget(acme, 1000)
    assert answered(acme, "fail 500").state == TurnState.FAILED
    assert spent(acme, team) == 0
    assert reserved(acme) == 0


def test_who_cancels_in_mid_answer_is_charged_what_we_guess(acme):
    team = budget(acme, 1000)

    async def cancelled() -> None:
        turn = await turns.submit(actor=acme.owner, text="hang after 5")
        events = await turns.follow(actor=acme.owner, turn_id=turn.id, after=0)
        async with aclosing(events):
            async for event in events:
                if event is not None and event.type == "text.delta":
                    await turns.cancel(actor=acme.owner, turn_id=turn.id)
        await host.idle()

    run_coroutine(cancelled())
    assert spent(acme, team) == used(acme) > 0
    assert reserved(acme) == 0


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


@contextmanager
def meanwhile(deed: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Somebody does it elsewhere, and waits by now for what is locked here, or is done."""

    def done() -> Any:
        try:
            return deed()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as elsewhere:
        doing = elsewhere.submit(done)
        deadline = time.monotonic() + 30
        while not somebody_waits() and not doing.done() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield doing


def test_who_reserves_while_a_budget_is_being_deleted_waits_and_is_not_bound(acme):
    team = budget(acme, 1000)
    with ExitStack() as later:
        with tenant_scope(acme.tenant.id):
            budgets_delete(budget_ids=[team.id])
            turn = later.enter_context(meanwhile(lambda: answered(acme, "say: on my own account")))
        assert turn.result(60).state == TurnState.COMPLETED
    assert reserved(acme) == 0


def test_a_budget_is_deleted_after_the_step_that_is_just_being_counted(acme):
    team = budget(acme, 1000)
    with tenant_scope(acme.tenant.id):
        work = taken(submitted(acme.owner, "say: never").turn)
    first, *then = budgets.reserved(work.payer(), tokens=5, money=None, seconds=60)

    def delete() -> None:
        with tenant_scope(acme.tenant.id):
            budgets_delete(budget_ids=[team.id])

    with ExitStack() as later:
        with tenant_scope(acme.tenant.id):
            performed(rows_of(first))
            deleted = later.enter_context(meanwhile(delete))
            for statement in then:
                performed(rows_of(statement))
            assert reserved(acme) == 1
        deleted.result(60)
    assert reserved(acme) == 0


def test_completions_and_embeddings_are_bound_by_the_same_budgets(acme, model):
    profile(acme, "vectors", kind="embedding", base_url=model, **DEAR)
    team = budget(acme, 20)
    asked = completions.Asked("assistant", [ModelMessage("user", "say: hi")], ModelSettings())

    async def completion() -> None:
        await read(await completions.begin(actor=acme.owner, asked=asked))

    async def vectors() -> None:
        await embeddings.embed(actor=acme.owner, wanted=Wanted("vectors", ["word " * 30]))

    run_coroutine(completion())
    run_coroutine(vectors())
    assert spent(acme, team) == used(acme) > 20
    assert reserved(acme) == 0
    for one in (completion, vectors):
        with pytest.raises(SomaError) as raised:
            run_coroutine(one())
        assert raised.value.code == "budget_exceeded"


def test_money_cannot_be_bounded_where_a_price_is_missing_and_that_is_said(acme):
    change(acme, output_price=None)
    budget(acme, 5, measure="money")
    turn = answered(acme, "say: how much?")
    assert (turn.state, turn.error_code) == (TurnState.FAILED, "price_missing")


def test_another_tenant_s_budget_binds_nobody_here(acme, model):
    budget(organisation("other", model_url=model), 0)
    assert answered(acme, "say: free").state == TurnState.COMPLETED


def test_a_turn_without_budgets_asks_the_database_no_more_often(acme):
    """One statement in a message that is sent anyway, and no row of a budget."""
    with tenant_scope(acme.tenant.id), CaptureQueriesContext(connection) as asked:
        submitted(acme.owner, "say: hi", host="here")
    about = [query["sql"] for query in asked if "tenancy_budget" in query["sql"]]
    assert len(about) == 1
    with tenant_scope(acme.tenant.id):
        assert not BudgetCount.objects.exists()


def test_an_operator_makes_a_budget_for_an_agent_and_raises_it(acme):
    browser = operator_client(acme.owner)
    form = {"name": "Robots", "measure": "tokens", "period": "day", "amount": "0"}
    made = browser.post("/admin/tenancy/budget/add/", {**form, "whom": f"agent {acme.agent.id}"})
    assert made.status_code == 302
    with tenant_scope(acme.tenant.id):
        found = Budget.objects.get()
    assert (found.covers, found.subject_id) == ("agent", acme.agent.id)
    assert refused(acme, acme.owner).code == "budget_exceeded"
    again = browser.post("/admin/tenancy/budget/add/", {**form, "whom": f"agent {acme.agent.id}"})
    assert "There is such a budget already" in again.content.decode()
    page = f"/admin/tenancy/budget/{found.id}/change/"
    assert browser.post(page, {"name": "Robots", "amount": "1000"}).status_code == 302
    assert answered(acme, "say: hello").state == TurnState.COMPLETED
    assert "Robots" in browser.get(page).content.decode()


@pytest.mark.parametrize("amount", ["-1", "1e15"])
def test_absurd_amounts_are_refused_by_the_form_and_by_the_database(acme, amount):
    browser = operator_client(acme.owner)
    form = {"name": "Odd", "measure": "tokens", "period": "day", "whom": "tenant", "amount": amount}
    assert browser.post("/admin/tenancy/budget/add/", form).status_code == 200
    found = budget(acme, 1)
    with pytest.raises((IntegrityError, DataError)), tenant_scope(acme.tenant.id):
        Budget.objects.filter(id=found.id).update(amount=Decimal(amount))
