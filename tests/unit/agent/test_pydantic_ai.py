"""Stories of models whose providers have protocols of their own, reached through pydantic-ai over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from somaagent.agent.content import File, Image, Text
from somaagent.agent.events import AgentEvent, ReasoningDelta, RunCompleted
from somaagent.agent.limits import Limits
from somaagent.agent.loop import run
from somaagent.agent.messages import ModelMessage, ToolCall
from somaagent.agent.models.connection import Timeouts
from somaagent.agent.models.providers import PROVIDERS, UnknownProvider, provider_of
from somaagent.agent.models.pydantic_ai import PydanticAI
from somaagent.agent.ports import (
    ModelChunk,
    ModelSettings,
    TextChunk,
    ToolCallChunk,
    ToolResult,
    ToolSchema,
    Toolset,
)
from somaagent.errors import Kind, SomaError
from tests.unit.agent.conftest import KEY, Bench, finish_of, text_of
from tests.unit.agent.raw import close, raw_server

PLAIN = ModelSettings()
MODELS = ["google:scripted", "groq:scripted", "mistral:scripted"]
PATIENT = Timeouts(connect=2, first_token=20, idle=20)
HASTY = Timeouts(connect=2, first_token=1.5, idle=0.5)
WEATHER = [{"name": "weather", "arguments": {"town": "Graz"}}]
TOWN = {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]}
PIXEL = "iVBORw=="


class Weather(Toolset):
    def schemas(self) -> Sequence[ToolSchema]:
        return [ToolSchema("weather", "The weather in a town.", TOWN)]

    async def call(self, call: ToolCall) -> ToolResult:
        return ToolResult(f"Rain, with {call.arguments}")


def reached(bench: Bench, model: str, **changes: Any) -> PydanticAI:
    url = f"{bench.url}/mistral" if model.startswith("mistral") else bench.url
    facts: dict[str, Any] = {"base_url": url, "api_key": KEY, "timeouts": PATIENT}
    return PydanticAI(model=model, **(facts | changes))


async def asked(
    bench: Bench,
    model: str,
    *messages: ModelMessage,
    settings: ModelSettings = PLAIN,
    **changes: Any,
) -> list[ModelChunk]:
    stream = reached(bench, model, **changes).stream(messages, settings=settings)
    return [chunk async for chunk in stream]


def says(text: str) -> ModelMessage:
    return ModelMessage("user", text)


@pytest.mark.parametrize("model", MODELS)
async def test_a_model_streams_its_answer_and_says_what_it_used(bench: Bench, model: str):
    chunks = await asked(bench, model, ModelMessage("system", "Be brief."), says("say: Hello wide world"))
    assert [chunk.text for chunk in chunks if isinstance(chunk, TextChunk)] == ["Hello", " wide", " world"]
    finish = finish_of(chunks)
    assert finish.reason == "stop"
    assert finish.usage.output_tokens == 3
    assert finish.usage.input_tokens > 0
    [seen] = await bench.requests()
    assert "Be brief." in json.dumps(seen["body"])


@pytest.mark.parametrize("model", MODELS)
async def test_a_run_calls_tools_and_goes_on_with_their_results(bench: Bench, model: str):
    events: list[AgentEvent] = [
        event
        async for event in run(
            [says(f"calls: {json.dumps(WEATHER)}")],
            model=reached(bench, model),
            toolset=Weather(),
            settings=ModelSettings(max_output_tokens=64, temperature=0.5),
            limits=Limits(),
        )
    ]
    done = events[-1]
    assert isinstance(done, RunCompleted)
    assert done.text.replace(" ", "") == 'Rain,with{"town":"Graz"}'
    first, second = await bench.requests()
    assert "64" in json.dumps(first["body"])
    assert "The weather in a town." in json.dumps(first["body"])
    if model.startswith("google"):  # which refuses a call that comes back without its signature
        assert "c2lnbmVk" in json.dumps(second["body"])


async def test_what_gemini_thinks_is_told_apart(bench: Bench):
    events = run(
        [says("think: Forty-two")],
        model=reached(bench, "google:scripted"),
        toolset=Weather(),
        settings=ModelSettings(),
        limits=Limits(),
    )
    told = [event async for event in events]
    assert "".join(event.text for event in told if isinstance(event, ReasoningDelta)) == "Let me see"
    assert isinstance(told[-1], RunCompleted)
    assert told[-1].text == "Forty-two"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("told", "codes"),
    [
        ("fail 401", ["model_refused_key"]),
        ("fail 404", ["model_not_found"]),
        ("fail 400", ["model_refused_request"]),
        ("fail 429 7", ["model_rate_limited"]),
        ("fail 500", ["model_failed"]),
        ("garbage", ["model_garbled"]),
        ("cut after 0", ["model_cut_off", "model_unreachable"]),
        ("cut after 3", ["model_cut_off"]),
        ("hang", ["model_timeout"]),
        ("hang after 2", ["model_timeout"]),
    ],
)
async def test_each_way_to_fail_has_its_code_and_is_asked_once(
    bench: Bench, model: str, told: str, codes: list[str]
):
    await asked(bench, model, says("say: imported"))
    with pytest.raises(SomaError) as caught:
        await asked(bench, model, says(told), timeouts=HASTY)
    error = caught.value
    assert error.code in codes
    assert error.kind is Kind.UPSTREAM
    assert error.retry_after == (7 if told == "fail 429 7" else None)
    assert error.message.endswith(".")
    assert KEY not in repr(error) + error.message
    assert len(await bench.requests()) == 2


@pytest.mark.parametrize("model", MODELS)
async def test_a_server_that_is_away(bench: Bench, model: str):
    async with raw_server(lambda _, writer: close(writer)) as url:
        away = url.removesuffix("/v1")
    with pytest.raises(SomaError) as caught:
        await asked(bench, model, says("hi"), base_url=away)
    assert caught.value.code == "model_unreachable"


@pytest.mark.parametrize("model", MODELS)
async def test_who_stops_listening_ends_the_request(bench: Bench, model: str):
    stream = reached(bench, model).stream([says("slow 0.05: " + "word " * 200)], settings=ModelSettings())
    assert isinstance(await anext(stream), TextChunk)
    await stream.aclose()
    await bench.seen("disconnected")


@pytest.mark.parametrize("model", MODELS)
async def test_keys_and_addresses_of_the_environment_are_nobody_s(
    bench: Bench, model: str, monkeypatch: pytest.MonkeyPatch
):
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY"):
        monkeypatch.setenv(name, "of-the-environment")
    for name in ("GROQ_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://nowhere.invalid")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    assert text_of(await asked(bench, model, says("say: ours"))) == "ours"
    with pytest.raises(SomaError, match="names no secret") as caught:
        reached(bench, model, api_key=None)
    assert caught.value.code == "model_secret_missing"


async def test_an_answer_in_json_and_a_chosen_tool_are_asked_for_in_the_provider_s_words(bench: Bench):
    form = {"type": "json_schema", "json_schema": {"name": "town", "schema": TOWN}}
    wished = ModelSettings(response_format=form)
    chunks = await asked(bench, "google:gemini-3-pro", says('say: {"town": "Graz"}'), settings=wished)
    assert text_of(chunks) == '{"town": "Graz"}'
    [seen] = await bench.requests()
    assert "application/json" in json.dumps(seen["body"])
    chosen = ModelSettings(tool_choice={"type": "function", "function": {"name": "weather"}})
    stream = reached(bench, "mistral:scripted").stream(
        [says(f"calls: {json.dumps(WEATHER)}")], tools=Weather().schemas(), settings=chosen
    )
    calls = [chunk.call.name async for chunk in stream if isinstance(chunk, ToolCallChunk)]
    assert calls == ["weather"]


@pytest.mark.parametrize("model", MODELS)
async def test_images_are_shown(bench: Bench, model: str):
    shown = ModelMessage.of_parts([Text("say: seen"), Image(content=PIXEL, media_type="image/png")])
    assert text_of(await asked(bench, model, shown)).strip() == "seen"
    [seen] = await bench.requests()
    assert PIXEL in json.dumps(seen["body"])


async def test_an_address_of_an_image_is_passed_on_or_refused_and_never_fetched(bench: Bench):
    address = f"{bench.url}/v1/models"
    shown = ModelMessage.of_parts([Text("say: seen"), Image(url=address)])
    assert text_of(await asked(bench, "mistral:scripted", shown)).strip() == "seen"
    [seen] = await bench.requests()
    assert address in json.dumps(seen["body"])
    with pytest.raises(SomaError, match="send the image itself") as caught:
        await asked(bench, "google:scripted", shown)
    assert caught.value.code == "model_refused_request"


@pytest.mark.parametrize(
    ("model", "settings", "reason"),
    [
        ("google:scripted", ModelSettings(thinking_tokens=100), "no thinking tokens"),
        ("google:scripted", ModelSettings(response_format={"type": "json_object"}), "needs a JSON Schema"),
        ("groq:scripted", ModelSettings(reasoning_effort="furious"), "one of none, minimal"),
    ],
)
async def test_a_wish_that_would_be_dropped_is_refused(
    bench: Bench, model: str, settings: ModelSettings, reason: str
):
    with pytest.raises(SomaError, match=reason) as caught:
        await asked(bench, model, says("hi"), settings=settings)
    assert caught.value.code == "model_refused_request"
    assert await bench.requests() == []


async def test_a_file_that_a_provider_cannot_read_is_refused(bench: Bench):
    shown = ModelMessage.of_parts([Text("say: read"), File("a.zip", "application/zip", "UEsDBA==")])
    with pytest.raises(SomaError) as caught:
        await asked(bench, "groq:scripted", shown)
    assert caught.value.code in {"model_refused_request", "model_garbled"}
    assert await bench.requests() == []


async def test_a_provider_whose_client_is_not_installed_says_what_to_install(bench: Bench):
    with pytest.raises(SomaError, match="package cohere, which is not installed here") as caught:
        await asked(bench, "cohere:command-a", says("hi"))
    assert caught.value.code == "model_not_found"


def test_a_model_names_its_provider():
    assert provider_of("google:models/gemini:x") == (PROVIDERS["google"], "models/gemini:x")
    for wrong in ("gemini-3-pro", "openai:gpt-5", "google:", ":x", ""):
        with pytest.raises(UnknownProvider, match="google:NAME"):
            provider_of(wrong)
    with pytest.raises(SomaError, match="An operator has to correct"):
        PydanticAI(base_url="", model="gpt-5", api_key=KEY)


def test_nothing_heavy_is_imported_before_a_model_is_asked():
    program = (
        "import sys, somaagent.agent.models.pydantic_ai; "
        "sys.exit(any(name.startswith(('pydantic_ai', 'google.genai', 'groq')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
