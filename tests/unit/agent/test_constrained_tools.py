"""Tools for models that know none, as JSON held to a schema: over HTTP, and with the embedded model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from somaagent.agent.events import AgentEvent, RunCompleted, TextDelta
from somaagent.agent.limits import Limits
from somaagent.agent.loop import run
from somaagent.agent.messages import ModelMessage, ToolCall
from somaagent.agent.models.connection import Timeouts
from somaagent.agent.models.constrained_schema import format_of
from somaagent.agent.models.constrained_tools import ConstrainedTools
from somaagent.agent.ports import (
    ModelChunk,
    ModelSettings,
    TextChunk,
    ToolCallChunk,
    ToolResult,
    ToolSchema,
    Toolset,
)
from somaagent.agent.step_events import StepCompleted
from somaagent.errors import SomaError
from tests.unit.agent.conftest import Bench, finish_of, text_of
from tests.unit.agent.raw import raw_server, speak

SUM = ToolSchema(
    "calculator",
    "Adds two numbers.",
    {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/number"}, "b": {"$ref": "#/$defs/number"}},
        "required": ["a", "b"],
        "additionalProperties": False,
        "$defs": {"number": {"type": "integer"}},
    },
)
CALL = json.dumps({"name": "calculator", "arguments": {"a": 2, "b": 3}})
PLAIN = ModelSettings()


class Calculator(Toolset):
    def __init__(self) -> None:
        self.sums: list[int] = []

    def schemas(self) -> Sequence[ToolSchema]:
        return [SUM]

    async def call(self, call: ToolCall) -> ToolResult:
        numbers = json.loads(call.arguments)
        self.sums.append(numbers["a"] + numbers["b"])
        return ToolResult(str(self.sums[-1]))


async def ran(model: Any, calculator: Calculator, told: str, **limits: Any) -> list[AgentEvent]:
    events = run(
        [ModelMessage("system", "Be brief."), ModelMessage("user", told)],
        model=ConstrainedTools(model),
        toolset=calculator,
        settings=ModelSettings(max_output_tokens=80, temperature=0.0),
        limits=Limits(**limits),
    )
    return [event async for event in events]


async def heard(model: Any, settings: ModelSettings = PLAIN) -> list[ModelChunk]:
    stream = ConstrainedTools(model).stream([ModelMessage("user", "Hi")], tools=[SUM], settings=settings)
    return [chunk async for chunk in stream]


async def written(bench: Bench, *pieces: str, reason: str = "stop") -> list[ModelChunk]:
    """What is made of an answer that its server writes in exactly these pieces."""
    choices = [{"delta": {"content": piece}} for piece in pieces] + [{"delta": {}, "finish_reason": reason}]
    events = [b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n" for choice in choices]
    async with raw_server(speak(b"".join(events) + b"data: [DONE]\n\n", 100_000)) as url:
        return await heard(bench.model(base_url=url))


async def test_a_model_that_repeats_itself_can_only_answer(bench: Bench):
    await bench.script(f"say: {CALL}", f"say: {CALL}", "say: It is five, again.")
    calculator = Calculator()
    done = (await ran(bench.model(), calculator, "What is 2 + 3?"))[-1]
    assert isinstance(done, RunCompleted)
    assert (calculator.sums, done.text) == ([5, 5], "It is five, again.")
    assert "response_format" not in (await bench.requests())[-1]["body"]


async def test_a_model_without_tools_calls_one_and_answers_with_its_result(bench: Bench):
    await bench.script(f"say: {CALL}", 'say: {"answer": "It is five."}')
    calculator = Calculator()
    events = await ran(bench.model(), calculator, "What is 2 + 3?")
    done = events[-1]
    assert isinstance(done, RunCompleted)
    assert (calculator.sums, done.text) == ([5], "It is five.")
    steps = [event for event in events if isinstance(event, StepCompleted)]
    assert [step.finish_reason for step in steps] == ["tool_calls", "stop"]
    assert steps[0].message.text == ""
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "It is five."

    first, second = [request["body"] for request in await bench.requests()]
    assert "tools" not in first
    assert "tool_choice" not in first
    schema = first["response_format"]["json_schema"]["schema"]
    answer, call = schema["anyOf"]
    assert list(answer["properties"]) == ["answer"]
    assert list(call["properties"]) == ["name", "arguments"]
    assert call["properties"]["arguments"]["properties"]["a"] == {"$ref": "#/$defs/calculator.number"}
    assert schema["$defs"] == {"calculator.number": {"type": "integer"}}
    assert first["messages"][0]["content"].startswith("Be brief.\n\nReply with one JSON object")
    assert "- calculator: Adds two numbers." in first["messages"][0]["content"]
    asked, said, result = second["messages"][1:]
    assert (asked["role"], said["role"], result["role"]) == ("user", "assistant", "user")
    assert json.loads(said["content"]) == {"name": "calculator", "arguments": {"a": 2, "b": 3}}
    assert result["content"] == "Result of calculator: 5"


async def test_the_answer_is_passed_on_while_it_is_written(bench: Bench):
    await bench.script('slow 0.05: {"answer": "one two three four"}')
    stream = ConstrainedTools(bench.model()).stream([ModelMessage("user", "Hi")], tools=[SUM], settings=PLAIN)
    pieces = [chunk.text async for chunk in stream if isinstance(chunk, TextChunk)]
    assert "".join(pieces) == "one two three four"
    assert len(pieces) == 4


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
async def test_escapes_may_be_cut_anywhere(bench: Bench, size: int):
    answer = 'Tab\t, "quoted", back\\slash, Größe, \U0001f600, \u2028 and {"name": 1}'
    for ascii_only in (True, False):
        reply = json.dumps({"answer": answer}, ensure_ascii=ascii_only)
        pieces = [reply[at : at + size] for at in range(0, len(reply), size)]
        chunks = await written(bench, "", *pieces, " \n")
        assert text_of(chunks) == answer
        assert finish_of(chunks).reason == "stop"


async def test_half_of_a_surrogate_pair_is_marked_as_unreadable(bench: Bench):
    chunks = await written(bench, '{"answer": "a\\ud83d', ' b"}')
    assert text_of(chunks) == "a\ufffd b"


async def test_a_long_answer_takes_no_longer_than_its_length_deserves(bench: Bench):
    chunks = await written(bench, '{"answer": "', *(["abcd"] * 50_000), '"}')
    assert len(text_of(chunks)) == 200_000


async def test_an_answer_that_is_cut_at_the_limit_is_kept_and_a_call_is_told_to_be_broken(bench: Bench):
    chunks = await written(bench, '{"answer": "as far as', reason="length")
    assert (text_of(chunks), finish_of(chunks).reason) == ("as far as", "length")
    chunks = await written(bench, '{"name": "calculator", "arguments": {"a": 2', reason="length")
    [call] = [chunk.call for chunk in chunks if isinstance(chunk, ToolCallChunk)]
    assert (call.name, call.arguments) == ("calculator", '{"a": 2')
    assert finish_of(await written(bench, reason="length")).reason == "length"


@pytest.mark.parametrize("said", ["I'd rather talk.", "{}", "[1]", '{"name": 3}', '{"answer": "x', ""])
async def test_a_server_that_keeps_to_no_schema_is_found_out(bench: Bench, said: str):
    with pytest.raises(SomaError) as caught:
        await written(bench, said)
    assert caught.value.code == "model_garbled"


async def test_which_tool_may_be_called_is_in_the_schema(bench: Bench):
    await bench.script(*(f"say: {CALL}",) * 2, "say: No tools, no JSON.")
    named = {"type": "function", "function": {"name": "calculator"}}
    for choice in ("required", named):
        calls = await heard(bench.model(), ModelSettings(tool_choice=choice))
        assert [chunk.call.name for chunk in calls if isinstance(chunk, ToolCallChunk)] == ["calculator"]
    plain = await heard(bench.model(), ModelSettings(tool_choice="none"))
    assert text_of(plain) == "No tools, no JSON."
    *forced, free = [request["body"] for request in await bench.requests()]
    for body in forced:
        assert len(body["response_format"]["json_schema"]["schema"]["anyOf"]) == 1
    assert "response_format" not in free


async def test_another_form_of_answer_beside_tools_is_refused(bench: Bench):
    with pytest.raises(SomaError, match="no other form beside them") as caught:
        await heard(bench.model(), ModelSettings(response_format={"type": "json_object"}))
    assert caught.value.code == "model_refused_request"
    assert await bench.requests() == []


async def test_an_agent_without_tools_is_left_alone(bench: Bench):
    stream = ConstrainedTools(bench.model()).stream([ModelMessage("user", "say: hi")], settings=PLAIN)
    assert text_of([chunk async for chunk in stream]) == "hi"
    [seen] = await bench.requests()
    assert [message["role"] for message in seen["body"]["messages"]] == ["user"]


def test_definitions_of_two_tools_do_not_meet():
    other = ToolSchema(
        "other", "", {"type": "object", "definitions": {"number": {"$ref": "#/definitions/n"}}}
    )
    definitions = format_of([SUM, other], may_answer=True)["json_schema"]["schema"]["$defs"]
    assert definitions == {
        "calculator.number": {"type": "integer"},
        "other.number": {"$ref": "#/$defs/other.n"},
    }


async def test_the_embedded_model_makes_a_valid_call_in_a_run(bench: Bench, embedded: str):
    calculator = Calculator()
    model = bench.model(base_url=embedded, model="local", api_key="sk-local", timeouts=Timeouts())
    must = ModelSettings(max_output_tokens=80, temperature=0.0, tool_choice="required")
    asked = run(
        [ModelMessage("user", "Add 2 and 3 with the calculator.")],
        model=ConstrainedTools(model),
        toolset=calculator,
        settings=must,
        limits=Limits(),
    )
    events: list[AgentEvent] = []
    async with aclosing(asked):
        while not isinstance(events[-1:] and events[-1], StepCompleted):
            events.append(await anext(asked))
    [step] = [event for event in events if isinstance(event, StepCompleted)]
    [call] = step.message.tool_calls
    assert call.name == "calculator"
    assert len(calculator.sums) == 1, step

    done = (await ran(model, calculator, "Say hello.", max_steps=5, seconds=100))[-1]
    assert isinstance(done, RunCompleted)
    assert done.text
