"""Turns whose model fails before it answers, as its profile says."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
import requests
from django.core.exceptions import ValidationError
from prometheus_client import REGISTRY

from apps.chat import completions
from apps.chat.models import TurnState
from apps.sessions.models import MOST_FALLBACKS, ModelProfile, Protocol
from somaagent.agent.events import RunCompleted
from somaagent.agent.messages import ModelMessage
from somaagent.agent.ports import ModelSettings
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from tests import model_server
from tests.factories import organisation
from tests.integration.chat.scripted import answered, asked, change, profile, script

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def first() -> Iterator[str]:
    with model_server.process() as url:
        yield url


@pytest.fixture(scope="module")
def second() -> Iterator[str]:
    with model_server.process() as url:
        yield url


@pytest.fixture(autouse=True)
def clean(first, second) -> None:
    for url in (first, second):
        requests.post(f"{url}/_reset", timeout=60).raise_for_status()


def counted(metric: str, slug: str) -> float:
    return REGISTRY.get_sample_value(metric, {"profile": slug}) or 0.0


def test_a_busy_model_is_asked_again_as_often_as_its_profile_says(first):
    acme = organisation("acme", model_url=f"{first}/v1")
    change(acme, max_retries=2, max_retry_wait_seconds=0.05)
    before = counted("soma_model_retries_total", "scripted")
    script(first, "fail 429", "fail 500")
    turn = answered(acme, "say: at last")
    assert (turn.state, turn.output_message.text) == (TurnState.COMPLETED, "at last")
    assert counted("soma_model_retries_total", "scripted") - before == 2

    script(first, "fail 503", "fail 503", "fail 503")
    failed = answered(acme, "say: never")
    assert (failed.state, failed.error_code, failed.error_retryable) == (
        TurnState.FAILED,
        "model_failed",
        True,
    )


def test_the_fallback_of_a_profile_answers_in_its_place_in_another_protocol(first, second):
    acme = organisation("acme", model_url=f"{first}/v1")
    claude = profile(
        acme, "claude", protocol=Protocol.ANTHROPIC, base_url=second, max_output_tokens=77, temperature=0.25
    )
    change(acme, max_retries=1, max_retry_wait_seconds=0.05, fallback=claude)
    before = counted("soma_model_fallbacks_total", "scripted")
    script(first, "fail 500", "fail 500")
    turn = answered(acme, "say: from the other one")
    assert (turn.state, turn.output_message.text) == (TurnState.COMPLETED, "from the other one")
    assert (turn.cached_tokens, turn.output_tokens) == (3, 4)
    [request] = asked(second)
    assert request["body"]["model"] == "claude"
    assert request["body"]["system"] == "Answer."
    assert (request["body"]["max_tokens"], request["body"]["temperature"]) == (77, 0.25)
    assert len(asked(first)) == 2
    assert counted("soma_model_fallbacks_total", "scripted") - before == 1


def test_a_profile_whose_key_is_missing_falls_back_too(second):
    acme = organisation("acme")
    spare = profile(acme, "spare", base_url=f"{second}/v1")
    change(acme, secret_name=f"models/missing-{uuid4().hex[:8]}", fallback=spare)
    assert answered(acme, "say: I have none").output_message.text == "I have none"


def test_when_everything_is_down_the_turn_names_the_last_reason(first):
    acme = organisation("acme", model_url=f"{first}/v1")
    spare = profile(acme, "spare", max_retries=0)
    change(acme, max_retries=0, fallback=spare)
    script(first, "fail 500")
    turn = answered(acme, "say: nothing")
    assert (turn.state, turn.error_code) == (TurnState.FAILED, "model_unreachable")
    assert turn.error_message.startswith("None of 2 models answers. The last one, spare: The model server")
    assert turn.error_retryable


def test_nothing_is_asked_twice_once_the_answer_has_begun(first, second):
    acme = organisation("acme", model_url=f"{first}/v1")
    spare = profile(acme, "spare", base_url=f"{second}/v1")
    change(acme, max_retries=3, fallback=spare)
    turn = answered(acme, "cut after 3")
    assert (turn.state, turn.error_code) == (TurnState.FAILED, "model_cut_off")
    assert turn.output_message.text == "word word word"
    assert (len(asked(first)), asked(second)) == (1, [])


def test_profiles_that_name_one_another_are_each_asked_once(first, second):
    acme = organisation("acme", model_url=f"{first}/v1")
    spare = profile(acme, "spare", base_url=f"{second}/v1", max_retries=0)
    mine = change(acme, max_retries=0, fallback=spare)
    with tenant_scope(acme.tenant.id):
        ModelProfile.objects.filter(id=spare.id).update(fallback=mine)  # past the form, which refuses it
    script(first, "fail 500")
    script(second, "fail 500")
    assert answered(acme, "say: round and round").error_code == "model_failed"
    assert (len(asked(first)), len(asked(second))) == (1, 1)


def test_no_profile_stands_in_for_itself_and_a_chain_of_fallbacks_ends(first):
    acme = organisation("acme", model_url=f"{first}/v1")
    spares = [profile(acme, "spare-0", fallback=acme.agent.model_profile)]
    for number in range(1, MOST_FALLBACKS + 1):
        spares.append(profile(acme, f"spare-{number}", fallback=spares[-1]))
    with tenant_scope(acme.tenant.id):
        mine = ModelProfile.objects.get(slug="scripted")
        for looped in (mine, spares[0], spares[1]):
            mine.fallback = looped
            with pytest.raises(ValidationError, match="“Scripted” would stand in for itself"):
                mine.full_clean()
        with pytest.raises(ValidationError, match="At most 4"):
            spares[-1].full_clean()
        assert len(spares[-1].chain()) == MOST_FALLBACKS + 1
        spares[-2].full_clean()


def test_a_chat_completion_has_stand_ins_too_and_each_is_told_the_callers_wishes(first, second):
    acme = organisation("acme", model_url=f"{first}/v1")
    stand_in = profile(acme, "stand-in", base_url=f"{second}/v1", max_output_tokens=50, temperature=0.1)
    change(acme, fallback=stand_in, max_retries=0)
    script(first, "fail 500")
    wished = ModelSettings(temperature=0.7, max_output_tokens=400, seed=3)
    request = completions.Asked("assistant", [ModelMessage("user", "say: from the other")], wished)

    async def answer() -> str:
        events = await completions.begin(actor=acme.owner, asked=request)
        *_, done = [event async for event in events]
        assert isinstance(done, RunCompleted)
        return done.text

    assert run_coroutine(answer()) == "from the other"
    body = asked(second)[0]["body"]
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0.7, 50, 3)
