"""Each way in which a model server fails, in each protocol."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from somaagent.agent.models.adapter import Adapter
from somaagent.agent.models.anthropic import Anthropic
from somaagent.agent.models.connection import Timeouts
from somaagent.agent.models.openai_compatible import OpenAICompatible
from somaagent.agent.models.refusals import refusal
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
        ("too long", "context_too_long"),
        ("error: the prompt is too long", "context_too_long"),
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


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "Shorten it.", "type": "invalid_request_error", "code": "context_length_exceeded"}),
        (400, {"message": "This model's maximum context length is 8192 tokens. You requested 8334."}),
        (400, {"message": "request (4390 tokens) exceeds the available context size (4096 tokens)"}),
        (500, {"message": "Context size has been exceeded.", "type": "server_error"}),
        (400, {"code": 400, "message": "Too much.", "type": "exceed_context_size_error", "n_ctx": 256}),
        (
            400,
            {
                "type": "invalid_request_error",
                "message": "prompt is too long: 207791 tokens > 200000 maximum",
            },
        ),
        (400, {"message": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"}),
        (400, {"message": "The input token count (1050000) exceeds the maximum number of tokens allowed."}),
        (
            400,
            {"message": "It contains 40000 tokens, too large for model with 32768 maximum context length"},
        ),
        (413, {"message": "Request exceeds the maximum size"}),
    ],
)
def test_servers_say_in_many_ways_that_a_conversation_is_too_long(status: int, error: dict[str, object]):
    refused = refusal(status, {}, orjson.dumps({"error": error}), model="any", secret=None)
    assert (refused.code, refused.kind) == ("context_too_long", Kind.UPSTREAM)


def test_what_is_wrong_with_a_request_is_not_always_its_length():
    for message in (
        "max_tokens is too large",
        "The context parameter is unknown.",
        "temperature is too long",
    ):
        refused = refusal(400, {}, orjson.dumps({"error": {"message": message}}), model="any", secret=None)
        assert refused.code == "model_refused_request"
