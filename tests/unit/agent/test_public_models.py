"""A model that is to be at a public address: asked there and nowhere else, whatever its name leads to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from somaagent.agent.failures import ModelError
from somaagent.agent.models.anthropic import Anthropic
from somaagent.agent.models.connection import Timeouts
from somaagent.agent.models.embeddings import OpenAIEmbeddings
from somaagent.agent.models.openai_compatible import OpenAICompatible
from somaagent.agent.models.session import open_guarded_session
from somaagent.embedded.addresses import loopback
from tests.unit.agent.conftest import KEY, QUICK, Bench, finish_of, text_of
from tests.unit.outbound.test_client import HERE, Names

MODEL = "model.example.org"


def port_of(bench: Bench) -> str:
    return bench.url.rpartition(":")[2]


def reached(session: aiohttp.ClientSession, url: str, kind: Callable[..., Any] = OpenAICompatible) -> Any:
    return kind(base_url=url, model="scripted", api_key=KEY, session=session, timeouts=QUICK)


async def refused(bench: Bench, session: aiohttp.ClientSession, url: str) -> ModelError:
    changes = {"base_url": url, "session": session, "timeouts": Timeouts(connect=2, first_token=5, idle=5)}
    with pytest.raises(ModelError) as error:
        await bench.ask("say: hi", **changes)
    return error.value


async def test_an_address_of_the_inside_is_refused_in_any_spelling_and_says_nothing_of_it(bench: Bench):
    port = port_of(bench)
    names = Names(**{"0x7f000001": [loopback()], MODEL.replace(".", "_"): [loopback()]})
    async with open_guarded_session([], names) as session:
        for host in (loopback(), "[::1]", f"[::ffff:{loopback()}]", "0x7f000001", MODEL):
            error = await refused(bench, session, f"http://{host}:{port}/v1")
            assert (error.code, error.ask_again) == ("model_not_public", False), host
            assert loopback() not in error.message
    assert await bench.requests() == []


async def test_a_name_that_leads_inside_the_second_time_is_refused_then(bench: Bench):
    names = Names(model_example_org=[loopback(), "10.0.0.1"])
    url = f"http://{MODEL}:{port_of(bench)}/v1"
    async with open_guarded_session(HERE, names) as session:
        chunks = await bench.ask("say: well", base_url=url, session=session)
        assert (text_of(chunks), finish_of(chunks).reason) == ("well", "stop")
    async with open_guarded_session(HERE, names) as session:
        assert (await refused(bench, session, url)).code == "model_not_public"
    assert names.asked == [MODEL, MODEL]


async def test_neither_the_other_protocol_nor_embeddings_get_inside(bench: Bench):
    async with open_guarded_session([]) as session:
        with pytest.raises(ModelError) as error:
            await reached(session, bench.url, OpenAIEmbeddings).embed(["hi"])
        assert error.value.code == "model_not_public"
        bench.adapter = Anthropic
        assert (await refused(bench, session, bench.url)).code == "model_not_public"
    assert await bench.requests() == []
