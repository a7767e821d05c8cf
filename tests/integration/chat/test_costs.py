"""What a turn costs: at the prices of whoever answered, of the moment at which they did."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest
import requests

from apps.chat import host, hosting, stream, tasks, turns
from apps.chat.models import Step, Turn, TurnState
from apps.chat.schemas import told
from apps.chat.selectors import TurnRow
from apps.sessions import services as session_services
from apps.sessions.models import ModelProfile
from somaagent.agent.messages import ModelMessage, ToolCall, Usage
from somaagent.agent.step_events import StepCompleted
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import performed
from tests.factories import Organisation, organisation, submitted, taken

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acme(model) -> Organisation:
    requests.post(f"{model}/_reset", timeout=60).raise_for_status()
    return organisation("acme", model_url=f"{model}/v1")


def profile(acme: Organisation, slug: str, **facts: Any) -> ModelProfile:
    given = {"name": slug.title(), "model": slug, "base_url": acme.agent.model_profile.base_url} | facts
    with tenant_scope(acme.tenant.id):
        return session_services.model_profile_ensure(tenant_id=acme.tenant.id, slug=slug, **given)


def said(acme: Organisation, text: str) -> Turn:
    with tenant_scope(acme.tenant.id):
        return submitted(acme.owner, text).turn


def hosted(acme: Organisation, turn: Turn) -> Turn:
    tasks.turn_run(str(turn.id), str(acme.tenant.id))
    run_coroutine(host.idle())
    with tenant_scope(acme.tenant.id):
        return Turn.objects.select_related("output_message").get(id=turn.id)


def cost_of(acme: Organisation, turn: Turn) -> str | None:
    """As the API tells it."""
    with tenant_scope(acme.tenant.id):
        return told(TurnRow.of(turn))["usage"]["cost"]


def final_event(acme: Organisation, turn: Turn) -> dict[str, Any]:
    async def last() -> Any:
        return [record async for record in await turns.follow(actor=acme.owner, turn_id=turn.id, after=0)][-1]

    return dict(run_coroutine(last()).values())


def test_a_turn_costs_what_its_profile_says_in_the_row_the_event_and_the_api(acme):
    profile(acme, "scripted", input_price=Decimal(3), cached_price=Decimal("0.3"), output_price=Decimal(15))
    turn = hosted(acme, said(acme, "say: one two three"))
    # 5 words are read, of which 2 were cached, and 3 are written.
    assert cost_of(acme, turn) == "0.0000546"
    assert turn.cost == Decimal("0.0000546")
    assert final_event(acme, turn)["usage"]["cost"] == "0.0000546"
    run_coroutine(stream.delete(turn.id))
    assert final_event(acme, turn)["usage"]["cost"] == "0.0000546"
    with tenant_scope(acme.tenant.id):
        [step] = Step.objects.filter(turn=turn)
        assert (step.cost, step.data["profile"]) == (turn.cost, "scripted")


def test_the_stand_in_that_answered_has_its_own_prices_and_later_prices_change_nothing(acme, model):
    spare = profile(acme, "spare", input_price=Decimal(1), output_price=Decimal(2))
    profile(
        acme, "scripted", max_retries=0, fallback=spare, input_price=Decimal(900), output_price=Decimal(900)
    )
    requests.post(f"{model}/_script", data=orjson.dumps(["fail 500"]), timeout=60).raise_for_status()
    turn = hosted(acme, said(acme, "say: from the spare one"))
    profile(acme, "spare", input_price=Decimal(1000))
    # 6 words are read and 4 are written.
    assert cost_of(acme, turn) == "0.000014"
    with tenant_scope(acme.tenant.id):
        assert Step.objects.get(turn=turn).data["profile"] == "spare"


def test_without_prices_the_cost_is_unknown_and_said_to_be(acme):
    turn = hosted(acme, said(acme, "say: for free?"))
    assert turn.state == TurnState.COMPLETED
    assert (cost_of(acme, turn), final_event(acme, turn)["usage"]["cost"]) == (None, None)


def test_a_turn_that_another_host_goes_on_with_costs_its_kept_steps_too(acme):
    profile(acme, "scripted", input_price=Decimal(1), output_price=Decimal(1))
    turn = said(acme, "say: the rest")
    asked = ModelMessage("assistant", "", (ToolCall("call_0", "boil", "{}"),))
    result = ModelMessage("tool", "hot", tool_call_id="call_0")
    with tenant_scope(acme.tenant.id):
        work = taken(turn, "a host that died")
        kept = StepCompleted(1, asked, (result,), Usage(100, 0, 20, 0, Decimal("0.00012")), "tool_calls")
        assert performed(hosting.step_keep(work=work, step=kept))
        hosting.turn_give_back(work=work)
    # Another 5 words are read and 1 is written.
    assert cost_of(acme, hosted(acme, turn)) == "0.000126"
