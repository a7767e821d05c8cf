"""A model that keeps failing, as callers and operators of a gateway see it."""

from __future__ import annotations

import openai
import pytest
import requests

from tests.journeys.gateway import Gateway
from tests.journeys.openai_program import user

pytestmark = pytest.mark.django_db(transaction=True)


def fragile(gateway: Gateway) -> str:
    """An agent whose model is left alone after two failures; the name of its breaker."""
    from apps.chat.guards import breaker_name  # noqa: PLC0415 - Django is not configured before
    from apps.sessions import services  # noqa: PLC0415 - as above
    from somaagent.tenancy.models import Tenant  # noqa: PLC0415 - as above
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    tenant = Tenant.objects.order_by("id")[0]
    with tenant_scope(tenant.id):
        profile = services.model_profile_ensure(
            tenant_id=tenant.id,
            slug="brittle",
            name="Brittle",
            base_url=gateway.model.base_url,
            model="scripted",
            max_retries=0,
            breaker_failures=2,
            breaker_seconds=600.0,
        )
        services.agent_ensure(
            tenant_id=tenant.id, slug="brittle", name="Brittle", instructions="", model_profile=profile
        )
        return breaker_name(profile)


def close(name: str) -> bool:
    from somaagent.resilience.operators import breaker_close  # noqa: PLC0415 - as above

    return breaker_close(name)


def metric(gateway: Gateway, name: str, breaker: str) -> float | None:
    wanted = f'{name}{{breaker="{breaker}"}} '
    lines = requests.get(f"{gateway.url}/metrics", timeout=60).text.splitlines()
    found = [line.removeprefix(wanted) for line in lines if line.startswith(wanted)]
    return float(found[0]) if found else None


def test_a_model_that_keeps_failing_is_left_alone_and_everybody_is_told(gateway, key):
    breaker = gateway.in_database(lambda: fragile(gateway))
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0)

    def ask(words: str) -> str | None:
        answer = client.chat.completions.create(model="brittle", messages=user(words))
        return answer.choices[0].message.content

    gateway.model.reset()
    for _ in range(2):
        with pytest.raises(openai.InternalServerError) as failed:
            ask("fail 500")
        assert failed.value.code == "model_failed"
    with pytest.raises(openai.InternalServerError) as caught:
        ask("say: hello")
    assert (caught.value.status_code, caught.value.code) == (503, "model_circuit_open")
    assert 590 < int(caught.value.response.headers["Retry-After"]) <= 600
    assert len(gateway.model.requests()) == 2
    assert metric(gateway, "soma_breaker_state", breaker) == 2
    assert metric(gateway, "soma_breaker_opened_total", breaker) == 1
    assert metric(gateway, "soma_breaker_refused_total", breaker) == 1

    assert gateway.in_database(lambda: close(breaker))
    assert ask("say: hello") == "hello"
    assert metric(gateway, "soma_breaker_state", breaker) == 0
