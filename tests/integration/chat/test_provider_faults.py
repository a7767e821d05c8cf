"""Each way in which a model's provider fails, through the whole pipeline and in each protocol: the turn ends
as its profile says, and what everybody can see of the breaker is true.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from django.conf import settings
from django.contrib import admin
from django.contrib.messages.storage.cookie import CookieStorage
from django.test import RequestFactory
from prometheus_client import REGISTRY

from apps.chat import reach
from apps.chat.guards import breaker_name
from apps.chat.models import Turn, TurnState
from apps.sessions.models import ModelProfile, Protocol
from somaagent import valkey
from somaagent.agent.limits import Limits
from somaagent.agent.messages import ModelMessage
from somaagent.agent.ports import ModelSettings
from somaagent.background import run_coroutine
from somaagent.embedded.addresses import loopback
from somaagent.orchestrator.adapters import Breakers
from somaagent.orchestrator.registry import NotHealthy
from somaagent.resilience import keys
from somaagent.resilience.breaker_store import State
from somaagent.resilience.operators import breaker_close, breaker_states
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.scope import tenant_scope
from tests import model_server
from tests.factories import Organisation, organisation, user_of
from tests.integration.chat.scripted import answered, asked, profile, script
from tests.integration.observability.processes import eventually

pytestmark = pytest.mark.django_db(transaction=True)

QUESTION = [ModelMessage("user", "slow 0.05: one two three four five six seven eight")]
HASTY: dict[str, Any] = {"first_token_seconds": 0.4, "idle_seconds": 0.4, "max_retry_wait_seconds": 0.05}
# What the server does; the turn's code where nobody stands in; how often it is asked, with one retry; whether
# it is a failure to the breaker; whether another model may answer in its place.
FAULTS = [
    ("fail 429", "model_rate_limited", 2, False, True),
    ("fail 429 0.01", "model_rate_limited", 2, False, True),
    ("fail 429 3600", "model_rate_limited", 1, False, True),
    ("fail 500", "model_failed", 2, True, True),
    ("fail 503 3600", "model_failed", 1, True, True),
    ("error: overloaded", "model_failed", 2, True, True),
    ("hang", "model_timeout", 1, True, True),
    ("hang after 2", "model_timeout", 1, True, False),
    ("cut after 0", "model_cut_off", 2, True, True),
    ("cut after 2", "model_cut_off", 1, True, False),
    ("garbage", "model_garbled", 1, True, True),
    ("noise", "model_garbled", 1, True, True),
    ("page", "model_garbled", 1, True, True),
    ("plain: hello", "model_garbled", 1, True, True),
    ("endless", "output_limit", 1, False, False),
    ("fail 400", "model_refused_request", 1, False, True),
    ("fail 401", "model_refused_key", 1, False, True),
    ("fail 404", "model_not_found", 1, False, True),
]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with model_server.process() as url:
        yield url


@pytest.fixture(scope="module")
def spare_server() -> Iterator[str]:
    with model_server.process() as url:
        yield url


@dataclass
class House:
    """An organisation whose agent speaks with a server that does what it is told."""

    acme: Organisation
    server: str
    facts: dict[str, Any]

    def profile(self, **facts: Any) -> ModelProfile:
        """The agent's profile, with other facts."""
        self.facts |= facts
        return profile(self.acme, "scripted", **{"name": "Scripted"} | self.facts)

    def turn(self, step: str | None = None) -> Turn:
        """A turn in which the server does this whenever it is asked; without a step, it answers."""
        requests.post(f"{self.server}/_reset", timeout=60).raise_for_status()
        if step is not None:
            script(self.server, *[step] * 3)
        return answered(self.acme, "say: hello")

    @property
    def breaker(self) -> str:
        return breaker_name(self.profile())

    def state(self) -> State:
        return breaker_states([self.breaker])[self.breaker]

    def time_passes(self) -> None:
        """So much that the breaker lets a trial through."""
        valkey.blocking_client().hset(keys.breaker(self.breaker), "until", 0)

    def counted(self, metric: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(metric, labels or {"breaker": self.breaker})


@pytest.fixture(params=[Protocol.OPENAI_COMPATIBLE, Protocol.ANTHROPIC])
def house(request: pytest.FixtureRequest, server: str) -> Iterator[House]:
    protocol = request.param
    address = server if protocol is Protocol.ANTHROPIC else f"{server}/v1"
    facts = {"protocol": protocol, "base_url": address, "max_retries": 1, "breaker_seconds": 60.0}
    house = House(organisation("acme"), server, HASTY | facts)
    house.profile()
    yield house
    breaker_close(house.breaker)


@pytest.mark.parametrize(("fault", "code", "times", "counts", "_"), FAULTS)
def test_a_turn_fails_clearly_after_the_retries_that_its_profile_allows(house, fault, code, times, counts, _):
    house.profile(breaker_failures=times if counts else 1)
    turn = house.turn(fault)
    assert (turn.state, turn.error_code) == (TurnState.FAILED, code)
    assert turn.error_message.endswith(".")
    assert len(asked(house.server)) == times
    assert house.state() is (State.OPEN if counts else State.CLOSED)
    assert house.counted("soma_breaker_opened_total") == (1 if counts else None)


@pytest.mark.parametrize(("fault", "code", "times", "counts", "replaced"), FAULTS)
def test_the_fallback_answers_where_nothing_had_been_written(
    house, spare_server, fault, code, times, counts, replaced
):
    del counts
    spare = profile(house.acme, "spare", base_url=f"{spare_server}/v1")
    house.profile(fallback=spare)
    turn = house.turn(fault)
    if replaced:
        assert (turn.state, turn.output_message.text) == (TurnState.COMPLETED, "hello")
    else:
        assert (turn.state, turn.error_code) == (TurnState.FAILED, code)
    assert len(asked(house.server)) == times


def test_an_answer_without_end_is_stopped_at_the_limit_and_its_connection_closed(house):
    turn = house.turn("endless")
    assert (turn.state, turn.error_code, turn.error_retryable) == (TurnState.FAILED, "output_limit", False)
    assert len(turn.output_message.text) <= Limits().max_output_chars
    eventually(lambda: asked(house.server)[0]["state"] == "disconnected")


def test_an_open_breaker_is_seen_refuses_at_once_lets_one_trial_through_and_closes(house):
    house.profile(breaker_failures=2)
    assert house.turn("fail 500").error_code == "model_failed"
    assert house.state() is State.OPEN
    assert house.counted("soma_breaker_state") == 2
    profile_id = house.breaker.rpartition(":")[2]
    with pytest.raises(NotHealthy, match=f"Not closed: model {profile_id}"):
        Breakers().check(None)

    refused = house.turn()
    assert (refused.state, refused.error_code, refused.error_retryable) == (
        TurnState.FAILED,
        "model_circuit_open",
        True,
    )
    assert "an operator can let it be asked sooner" in refused.error_message
    assert asked(house.server) == []
    assert house.counted("soma_breaker_refused_total") == 1

    house.time_passes()
    assert house.turn("fail 500").error_code == "model_circuit_open", "the trial failed; its retry is refused"
    assert len(asked(house.server)) == 1
    house.time_passes()
    assert house.turn().state == TurnState.COMPLETED
    assert house.state() is State.CLOSED
    assert house.counted("soma_breaker_state") == 0
    Breakers().check(None)


def test_while_the_breaker_is_open_the_fallback_answers_and_the_model_is_left_alone(house, spare_server):
    house.profile(breaker_failures=1, max_retries=5)
    assert house.turn("fail 500").error_code == "model_circuit_open"
    assert len(asked(house.server)) == 1, "no retry knocks at an open breaker"
    spare = profile(house.acme, "spare", base_url=f"{spare_server}/v1")
    house.profile(fallback=spare)
    labels = {"profile": "scripted"}
    retries = house.counted("soma_model_retries_total", **labels)
    turn = house.turn()
    assert (turn.state, turn.output_message.text) == (TurnState.COMPLETED, "hello")
    assert asked(house.server) == []
    assert house.counted("soma_model_retries_total", **labels) == retries


def test_a_breaker_is_one_tenants_and_one_profiles_alone(house):
    house.profile(breaker_failures=1)
    house.turn("fail 500")
    neighbour = organisation("neighbour", model_url=f"{house.server}/v1")
    requests.post(f"{house.server}/_reset", timeout=60).raise_for_status()
    assert answered(neighbour, "say: hello").state == TurnState.COMPLETED


def test_a_profile_may_do_without_a_breaker(house):
    house.profile(breaker_failures=0)
    for _ in range(6):
        assert house.turn("garbage").error_code == "model_garbled"
    assert house.state() is State.CLOSED


def test_a_cancelled_request_is_not_the_models_fault(house):
    house.profile(breaker_failures=1)
    slow = ModelSettings()

    async def given_up() -> None:
        model = await reach.model_for([house_profile])
        async with aclosing(model.stream(QUESTION, settings=slow)) as chunks:
            async for _ in chunks:
                break

    house_profile = house.profile()
    requests.post(f"{house.server}/_reset", timeout=60).raise_for_status()
    run_coroutine(given_up())
    assert house.state() is State.CLOSED


def test_requests_above_the_profiles_own_rate_wait_and_then_go_to_its_fallback(house, spare_server):
    house.profile(requests_per_minute=2, max_retries=3)
    assert [house.turn().state for _ in range(2)] == [TurnState.COMPLETED] * 2
    turn = house.turn()
    assert (turn.state, turn.error_code, turn.error_retryable) == (
        TurnState.FAILED,
        "model_rate_limited",
        True,
    )
    assert turn.error_message.startswith(
        "The model profile allows 2 requests a minute, and they are used up."
    )
    assert asked(house.server) == []
    assert house.counted("soma_rate_limited_total", limit=house.breaker) == 1
    assert house.state() is State.CLOSED

    house.profile(fallback=profile(house.acme, "spare", base_url=f"{spare_server}/v1"))
    assert house.turn().output_message.text == "hello"
    assert asked(house.server) == []


def test_what_an_operator_sees_and_closes(house):
    house.profile(breaker_failures=1)
    house.turn("fail 500")
    shown: Any = admin.site._registry[ModelProfile]
    with tenant_scope(house.acme.tenant.id):
        assert states_of(shown.changelist_view(operators_request(house))) == ["open"]
        asking = operators_request(house)
        shown.close_breakers(asking, ModelProfile.objects.all())
        assert [str(message) for message in asking._messages] == ["Scripted: closed."]
        (told,) = AuditEntry.objects.filter(action="breaker.closed")
        assert (told.via, told.user_id) == ("admin", house.acme.owner.user_id)
        shown.close_breakers(operators_request(house), ModelProfile.objects.all())
        assert AuditEntry.objects.filter(action="breaker.closed").count() == 1
        assert states_of(shown.changelist_view(operators_request(house))) == ["closed"]
    assert house.turn().state == TurnState.COMPLETED
    house.profile(breaker_failures=0)
    with tenant_scope(house.acme.tenant.id):
        assert states_of(shown.changelist_view(operators_request(house))) == ["off"]


def operators_request(house: House) -> Any:
    request: Any = RequestFactory().get("/admin/")
    request.user, request.actor = user_of(house.acme.owner), house.acme.owner
    request.user.is_staff = request.user.is_superuser = True
    request._messages = CookieStorage(request)
    return request


def states_of(page: Any) -> list[str]:
    return [profile.breaker_shown for profile in page.context_data["cl"].result_list]


def test_an_operator_is_told_when_breakers_cannot_be_known(house, monkeypatch):
    shown: Any = admin.site._registry[ModelProfile]
    with socket.create_server((loopback(), 0)) as free:
        port = free.getsockname()[1]
    with monkeypatch.context() as away:
        away.setattr(settings, "VALKEY", settings.VALKEY | {"port": port, "retries": 2})
        valkey._of_process.cache_clear()
        with tenant_scope(house.acme.tenant.id):
            assert states_of(shown.changelist_view(operators_request(house))) == ["not known"]
            asking = operators_request(house)
            shown.close_breakers(asking, ModelProfile.objects.all())
    valkey._of_process.cache_clear()
    assert [str(message) for message in asking._messages] == [
        "Scripted: Valkey, which keeps the breaker, does not answer."
    ]
