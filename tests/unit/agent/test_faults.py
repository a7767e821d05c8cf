"""Each way in which a model server fails, in each protocol."""

from __future__ import annotations

from dataclasses import replace

import pytest

from somaagent.agent.models.adapter import Adapter
from somaagent.agent.models.anthropic import Anthropic
from somaagent.agent.models.connection import Timeouts
from somaagent.agent.models.openai_compatible import OpenAICompatible
from somaagent.errors import Kind, SomaError
from tests.unit.agent.conftest import KEY, Bench


@pytest.mark.parametrize("adapter", [OpenAICompatible, Anthropic])
@pytest.mark.parametrize(
    ("told", "code"),
    [
        ("fail 401", "model_refused_key"),
        ("fail 403", "model_refused_key"),
        ("fail 404", "model_not_found"),
        ("fail 408", "model_timeout"),
        ("fail 429", "model_rate_limited"),
        ("fail 400", "model_refused_request"),
        ("fail 500", "model_failed"),
        ("fail 504", "model_timeout"),
        ("fail 529", "model_failed"),
        ("redirect", "model_refused_request"),
        ("error: out of memory", "model_failed"),
        ("garbage", "model_garbled"),
        ("noise", "model_garbled"),
        ("page", "model_garbled"),
        ("long 300000", "model_garbled"),
        ("cut after 0", "model_cut_off"),
        ("cut after 3", "model_cut_off"),
        ("hang", "model_timeout"),
        ("hang after 2", "model_timeout"),
    ],
)
async def test_each_way_to_fail_has_its_code_and_never_shows_the_key(
    bench: Bench, adapter: type[Adapter], told: str, code: str
):
    bench = replace(bench, adapter=adapter)
    hasty = Timeouts(connect=2, first_token=0.6, idle=0.3)
    with pytest.raises(SomaError) as caught:
        await bench.ask(told, timeouts=hasty, max_response_bytes=200_000)
    assert (caught.value.kind, caught.value.code) == (Kind.UPSTREAM, code)
    assert caught.value.message.endswith(".")
    assert KEY not in repr(caught.value) + caught.value.message + repr(bench.model())
