"""The ledger: each step that was paid for is in it once, with the prices of its moment and who used it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import ProgrammingError
from django.utils import timezone

from apps.chat import (
    completions,
    embeddings,
    host,
    hosting,
    services,
    stepping,
    stream,
    sweeping,
    tasks,
    turns,
)
from apps.chat.embeddings import Wanted
from apps.chat.models import Turn, TurnState
from apps.sessions.models import Agent
from apps.tools.models import ToolDecision
from somaagent.agent.events import (
    TextDelta,
    TurnCancelled,
    TurnEnded,
    TurnFailed,
    decode_end,
)
from somaagent.agent.messages import ModelMessage, ToolCall, Usage
from somaagent.agent.ports import ModelSettings
from somaagent.agent.step_events import StepAnswered, StepCompleted
from somaagent.background import run_coroutine
from somaagent.money import decimal_text
from somaagent.observability import metrics
from somaagent.tenancy.ledger.models import UsageRecord
from somaagent.tenancy.outbox.models import OutboxEvent
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import performed
from tests import model_server
from tests.factories import Organisation, keyed, organisation, person, submitted, taken

from .scripted import answered, change, profile

pytestmark = pytest.mark.django_db(transaction=True)
PRICES = {"input_price": Decimal(3), "cached_price": Decimal("0.3"), "output_price": Decimal(15)}


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    with model_server.process() as url:
        yield f"{url}/v1"


@pytest.fixture
def acme(model) -> Organisation:
    made = organisation("acme", model_url=model)
    change(made, **PRICES)
    return made


def ledger(acme: Organisation) -> list[UsageRecord]:
    """Its rows, by step. Each was told to other systems, once, in the same transaction."""
    with tenant_scope(acme.tenant.id):
        rows = list(UsageRecord.objects.order_by("step"))
        told = {event.id: event for event in OutboxEvent.objects.filter(type="usage.recorded")}
    assert told.keys() == {row.id for row in rows}
    for row in rows:
        event = told[row.id]
        assert (event.subject, event.data["step"]) == (str(row.run_id), row.step)
        assert event.data["cost"] == decimal_text(row.cost)
        assert event.data["input_tokens"] == row.input_tokens
    return rows


def hosted(acme: Organisation, turn: Turn) -> None:
    tasks.turn_run(str(turn.id), str(acme.tenant.id))
    run_coroutine(host.idle())


async def all_of(events: Any) -> list[Any]:
    async with aclosing(events):
        return [event async for event in events]


def test_a_turn_is_in_the_ledger_with_who_used_it_and_the_prices_of_its_moment(acme):
    turn = answered(acme, "say: one two three")
    change(acme, **{**PRICES, "input_price": Decimal(900)})
    [row] = ledger(acme)
    assert (row.source, row.run_id, row.step) == ("turn", turn.id, 1)
    assert (row.user_id, row.api_key_id) == (acme.owner.user_id, None)
    assert (row.agent_id, row.agent, row.profile) == (acme.agent.id, "assistant", "scripted")
    tokens = (row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens)
    assert tokens == (turn.input_tokens, turn.cached_tokens, turn.output_tokens, turn.reasoning_tokens)
    assert (row.input_price, row.cached_price, row.output_price) == tuple(PRICES.values())
    assert (row.reasoning_price, row.cost, row.estimated) == (None, turn.cost, False)


def test_the_key_that_submitted_a_turn_is_known_to_whichever_host_answers_it(acme):
    member = keyed(person("member", acme.tenant))
    with tenant_scope(acme.tenant.id):
        turn = submitted(member, "say: by a worker").turn
    hosted(acme, turn)

    async def at_once() -> None:
        await turns.submit(actor=member, text="say: by this process")
        await host.idle()

    run_coroutine(at_once())
    assert {row.api_key_id for row in ledger(acme)} == {member.key_id}
    assert len(ledger(acme)) == 2


def test_a_step_is_charged_when_its_model_has_answered_and_not_again_by_who_takes_over(acme):
    with tenant_scope(acme.tenant.id):
        turn = submitted(acme.owner, "say: the rest").turn
        work = taken(turn, "a host that dies")
        asked = ModelMessage("assistant", "", (ToolCall("call_0", "boil", "{}"),))
        used = Usage(100, 0, 20, 0, Decimal("0.0006"))
        answered = StepAnswered(1, asked, used, "tool_calls")
        assert performed(stepping.step_begin(work=work, answered=answered, used=used))
        assert [row.cost for row in UsageRecord.objects.all()] == [Decimal("0.0006")]
        hosting.turn_give_back(work=work)
        work = taken(turn, "its heir")
        result = ModelMessage("tool", "hot", tool_call_id="call_0")
        done = StepCompleted(1, asked, (result,), used, "tool_calls")
        assert performed(hosting.step_keep(work=work, step=done))
        hosting.turn_give_back(work=work)
    hosted(acme, turn)
    assert [(row.step, row.input_tokens) for row in ledger(acme)] == [(1, 100), (2, 5)]


def test_who_stops_a_model_in_mid_answer_pays_a_guess(acme):
    async def stopped() -> Turn:
        turn = await turns.submit(actor=acme.owner, text="hang after 5")
        events = await turns.follow(actor=acme.owner, turn_id=turn.id, after=0)
        async with aclosing(events):
            async for event in events:
                if event is not None and event.type == "text.delta":
                    await turns.cancel(actor=acme.owner, turn_id=turn.id)
        await host.idle()
        return turn

    turn = run_coroutine(stopped())
    with tenant_scope(acme.tenant.id):
        ended = Turn.objects.get(id=turn.id)
    assert ended.state == TurnState.CANCELLED
    [row] = ledger(acme)
    assert (row.run_id, row.step, row.estimated, row.profile) == (turn.id, 1, True, "scripted")
    assert row.input_tokens
    assert row.output_tokens
    assert row.cost
    assert used_by(ended) == used_by(row)
    assert told_at_the_end(turn) == TurnCancelled(ended.usage)


def used_by(row: Turn | UsageRecord) -> tuple[int, int, Decimal | None]:
    return row.input_tokens, row.output_tokens, row.cost


def told_at_the_end(turn: Turn) -> TurnEnded:
    last = run_coroutine(stream.last(turn.id))
    assert last is not None
    return decode_end(last.type, last.values())


def test_a_turn_that_fails_in_mid_answer_tells_what_it_cost(acme):
    failed = answered(acme, "cut after 2")
    assert failed.state == TurnState.FAILED
    [row] = ledger(acme)
    assert row.estimated
    assert used_by(failed) == used_by(row)
    assert told_at_the_end(failed) == TurnFailed(
        failed.error_code, failed.error_message, failed.error_retryable, failed.usage
    )


def test_a_turn_that_nobody_hosts_any_more_tells_what_its_hosts_used(acme):
    used = Usage(100, 0, 20, 0, Decimal("0.0006"))
    with tenant_scope(acme.tenant.id):
        turn = submitted(acme.owner, "say: never said").turn
        work = taken(turn, "a host that dies")
        asked = ModelMessage("assistant", "", (ToolCall("call_0", "boil", "{}"),))
        answered = StepAnswered(1, asked, used, "tool_calls")
        assert performed(stepping.step_begin(work=work, answered=answered, used=used))
        assert performed(services.turn_cancel(actor=acme.owner, turn_id=turn.id))
        Turn.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        swept = hosting.turns_sweep()
    sweeping.tell(acme.tenant.id, swept)
    assert [over.id for over in swept.over] == [turn.id]
    assert told_at_the_end(turn) == TurnCancelled(used)


def test_a_model_that_never_answered_costs_nothing(acme):
    assert answered(acme, "fail 500").state == TurnState.FAILED
    assert ledger(acme) == []


def test_completions_and_embeddings_are_charged_too(acme, model):
    actor = keyed(acme.owner)
    profile(acme, "vectors", kind="embedding", base_url=model, input_price=Decimal(2))
    asked = completions.Asked("assistant", [ModelMessage("user", "say: hi")], ModelSettings())

    async def both() -> None:
        await all_of(await completions.begin(actor=actor, asked=asked))
        await embeddings.embed(actor=actor, wanted=Wanted("vectors", ["two words"]))

    run_coroutine(both())
    completion, vectors = sorted(ledger(acme), key=lambda row: row.id)
    assert (completion.source, completion.agent, completion.api_key_id) == (
        "completion", "assistant", actor.key_id,
    )  # fmt: skip
    assert completion.output_tokens == 1
    assert completion.cost
    assert (vectors.source, vectors.profile, vectors.agent_id) == ("embeddings", "vectors", None)
    assert (vectors.input_tokens, vectors.cost) == (2, Decimal("0.000004"))


def test_a_policy_hears_what_earlier_steps_used(acme):
    call = 'calls: [{"name": "calculator", "arguments": {"expression": "1+1"}}]'
    text = f"{call}\nthen {call}\nthen say: two"
    with tenant_scope(acme.tenant.id):
        Agent.objects.filter(id=acme.agent.id).update(tools=["calculator"])
    assert answered(acme, text).state == TurnState.COMPLETED
    asked = completions.Asked("assistant", [ModelMessage("user", text)], ModelSettings())

    async def completed() -> None:
        await all_of(await completions.begin(actor=acme.owner, asked=asked))

    run_coroutine(completed())
    with tenant_scope(acme.tenant.id):
        heard = [decision.input["budget"] for decision in ToolDecision.objects.order_by("id")]
    of_turn, of_completion = (
        [row for row in ledger(acme) if row.source == source] for source in ("turn", "completion")
    )
    for first, second, rows in ((*heard[:2], of_turn), (*heard[2:], of_completion)):
        assert len(rows) == 3
        assert (first["output_tokens"], first["cost"]) == (0, "0")
        assert second["output_tokens"] == rows[0].output_tokens > 0
        assert second["cost"] == decimal_text(rows[0].cost)


def test_a_caller_who_leaves_a_completion_pays_a_guess_too(acme):
    asked = completions.Asked("assistant", [ModelMessage("user", "hang after 5")], ModelSettings())

    async def left() -> None:
        async with aclosing(await completions.begin(actor=acme.owner, asked=asked)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    return

    counted = metrics.MODEL_TOKENS.labels(kind="output")
    before = counted._value.get()
    run_coroutine(left())
    [row] = ledger(acme)
    assert (row.source, row.estimated) == ("completion", True)
    assert counted._value.get() - before == row.output_tokens > 0


def test_a_caller_who_leaves_while_the_last_step_is_written_down_pays_for_it(acme, stack):
    asked = completions.Asked("assistant", [ModelMessage("user", "say: all of it")], ModelSettings())

    def is_waited_for() -> bool:
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'tenancy_usagerecord'::regclass"
        return ledger_of_all.execute(waiting).fetchone() is not None

    async def left() -> None:
        reading = asyncio.create_task(read())
        for _ in range(500):
            if is_waited_for():
                break
            await asyncio.sleep(0.02)
        reading.cancel()
        await asyncio.sleep(0.1)
        ledger_of_all.rollback()
        with pytest.raises(asyncio.CancelledError):
            await reading

    async def read() -> None:
        await all_of(await completions.begin(actor=acme.owner, asked=asked))

    with stack.superuser() as ledger_of_all:
        ledger_of_all.autocommit = False
        ledger_of_all.execute("LOCK TABLE tenancy_usagerecord IN SHARE MODE")
        run_coroutine(left())
    [row] = ledger(acme)
    assert (row.source, row.estimated, row.output_tokens) == ("completion", False, 3)


def test_what_is_written_down_stays_so(acme):
    answered(acme, "say: for ever")
    rows = UsageRecord.objects.all()
    with pytest.raises(ProgrammingError, match="permission denied"), tenant_scope(acme.tenant.id):
        rows.update(cost=0)
    with pytest.raises(ProgrammingError, match="permission denied"), tenant_scope(acme.tenant.id):
        rows.delete()


def test_another_tenant_s_ledger_is_not_seen(acme, model):
    answered(acme, "say: ours")
    assert ledger(organisation("other", model_url=model)) == []
