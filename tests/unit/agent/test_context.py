"""Stories of conversations that become longer than what a model can read at once."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from somaagent.agent import tokens
from somaagent.agent.context import Context, Window
from somaagent.agent.events import AgentEvent, ContextCompacted, RunCompleted
from somaagent.agent.limits import Limits
from somaagent.agent.loop import run
from somaagent.agent.messages import ModelMessage, ToolCall, Usage
from somaagent.agent.models.anthropic import Anthropic
from somaagent.agent.models.fallback import Candidate, FallbackModel
from somaagent.agent.models.openai_compatible import OpenAICompatible
from somaagent.agent.ports import ChatModel, ModelSettings, ToolResult, ToolSchema, Toolset
from somaagent.agent.prices import Prices
from somaagent.agent.step_events import StepCompleted
from somaagent.agent.toolsets import EmptyToolset
from somaagent.errors import SomaError
from tests.unit.agent.conftest import Bench

SYSTEM = ModelMessage("system", "Be brief.")
WINDOW = Window(tokens=600, max_output_tokens=100)
ROOM = 440


@pytest.fixture(params=[OpenAICompatible, Anthropic])
def bench(bench: Bench, request: pytest.FixtureRequest) -> Bench:
    """Conversations are shortened the same way in every protocol."""
    return replace(bench, adapter=request.param)


class Library(Toolset):
    """A tool that answers at length, and never forgets to say on which page it found it."""

    def schemas(self) -> Sequence[ToolSchema]:
        return (ToolSchema("look_up", "Looks up a page.", {"type": "object"}),)

    async def call(self, call: ToolCall) -> ToolResult:
        page = json.loads(call.arguments)["page"]
        return ToolResult(f"#page{page} " + "text of the book " * 15)


def exchange(number: int, words: int = 12) -> list[ModelMessage]:
    return [
        ModelMessage("user", f"#fact{number} is what I tell you " + "and more " * words),
        ModelMessage("assistant", f"I heard #answer{number} " + "indeed " * words),
    ]


def conversation(exchanges: int, newest: str = "say: Hello", words: int = 12) -> list[ModelMessage]:
    said = [message for number in range(exchanges) for message in exchange(number, words)]
    return [SYSTEM, *said, ModelMessage("user", newest)]


def start(
    messages: Sequence[ModelMessage],
    model: ChatModel,
    window: Window | None = WINDOW,
    toolset: Toolset | None = None,
    **given: Any,
) -> AsyncGenerator[AgentEvent, None]:
    return run(
        messages,
        model=model,
        toolset=toolset or EmptyToolset(),
        settings=ModelSettings(),
        limits=Limits(seconds=20),
        window=window,
        **given,
    )


async def heard(events: AsyncGenerator[AgentEvent, None]) -> list[AgentEvent]:
    return [event async for event in events]


async def code_of(events: AsyncGenerator[AgentEvent, None]) -> str:
    with pytest.raises(SomaError) as caught:
        await heard(events)
    return caught.value.code


def compactions(events: Sequence[AgentEvent]) -> list[ContextCompacted]:
    return [event for event in events if isinstance(event, ContextCompacted)]


def answer_of(events: Sequence[AgentEvent]) -> RunCompleted:
    assert isinstance(events[-1], RunCompleted)
    return events[-1]


def texts(request: dict[str, Any]) -> list[str]:
    """All texts of a request, in order, whatever the protocol."""
    body = request["body"]
    found = [body["system"]] if "system" in body else []
    for message in body["messages"]:
        content = message.get("content") or ""
        parts = [content] if isinstance(content, str) else content
        found += [
            part if isinstance(part, str) else str(part.get("text", part.get("content", "")))
            for part in parts
        ]
    return found


def is_summary(request: dict[str, Any]) -> bool:
    return "<conversation>" in texts(request)[-1]


def guessed(request: dict[str, Any]) -> int:
    return tokens.guess(ModelMessage("user", text) for text in texts(request))


async def test_what_fits_is_read_as_it_is(bench: Bench):
    messages = conversation(2)
    events = await heard(start(messages, bench.model()))
    [request] = await bench.requests()
    assert texts(request) == [message.text for message in messages]
    assert compactions(events) == []


@pytest.mark.parametrize("window", [None, Window(None, 100)])
async def test_where_the_window_is_not_known_nothing_is_left_out(bench: Bench, window: Window | None):
    messages = conversation(60)
    await heard(start(messages, bench.model(), window))
    [request] = await bench.requests()
    assert texts(request) == [message.text for message in messages]


async def test_older_messages_are_summarised_and_the_newest_are_read_word_for_word(bench: Bench):
    messages = conversation(10)
    events = await heard(start(messages, bench.model()))
    [compacted] = compactions(events)
    *summaries, last = await bench.requests()
    assert all(is_summary(request) for request in summaries)
    assert all(guessed(request) <= ROOM for request in [*summaries, last])
    read = texts(last)
    assert read[0] == "Be brief."
    assert compacted.summary in read[1]
    kept = [message.text for message in messages[1 + compacted.messages :]]
    assert 3 <= len(kept) < 20
    assert read[-len(kept) :] == kept
    covered = compacted.messages // 2
    assert [f"#fact{number}" in compacted.summary for number in range(10)] == [n < covered for n in range(10)]
    assert (compacted.step, compacted.covers) == (1, "conversation")
    assert compacted.tokens_before > ROOM > compacted.tokens_after
    assert answer_of(events).text == "Hello"


async def test_a_summary_that_is_there_is_read_and_goes_on_into_the_next(bench: Bench):
    short = await heard(start(conversation(1), bench.model(), summary="In the beginning was #genesis"))
    assert compactions(short) == []
    [request] = await bench.requests()
    assert "In the beginning was #genesis" in texts(request)[1]
    events = await heard(start(conversation(10), bench.model(), summary="In the beginning was #genesis"))
    assert "#genesis" in compactions(events)[-1].summary
    roles = [message["role"] for message in (await bench.requests())[-1]["body"]["messages"]]
    spoken = [role for role in roles if role != "system"]
    assert all(one != following for one, following in itertools.pairwise(spoken))


async def test_a_message_that_is_longer_than_the_window_is_summarised_piece_by_piece(bench: Bench):
    parts = " ".join(f"#part{number} " + "lorem ipsum " * 20 for number in range(30))
    messages = [
        SYSTEM,
        ModelMessage("user", parts),
        ModelMessage("assistant", "Noted."),
        *conversation(0)[1:],
    ]
    events = await heard(start(messages, bench.model()))
    [compacted] = compactions(events)
    assert all(f"#part{number}" in compacted.summary for number in range(30))
    *pieces, last = await bench.requests()
    assert len(pieces) > 3
    assert all(guessed(request) <= ROOM for request in [*pieces, last])


async def test_a_long_run_of_tools_summarises_its_own_older_steps(bench: Bench):
    pages = [f'calls: [{{"name": "look_up", "arguments": {{"page": {page}}}}}]' for page in range(5)]
    # Four pages fit; with the fifth, a summary is asked for before the model goes on.
    await bench.script(*pages)
    window = Window(tokens=340, max_output_tokens=50)
    events = await heard(
        start([SYSTEM, ModelMessage("user", "Read it all.")], bench.model(), window, Library())
    )
    [compacted] = compactions(events)
    assert (compacted.step, compacted.covers, compacted.messages) == (6, "steps", 8)
    assert compacted.summary == "In short: #page0 #page1 #page2 #page3"
    read = texts((await bench.requests())[-1])
    assert compacted.summary in "\n".join(read)
    assert any(text.startswith("#page4 text of the book") for text in read)
    assert answer_of(events).text.startswith("#page4")


async def test_the_steps_of_a_run_are_summarised_but_never_the_newest_and_no_call_loses_its_result(
    bench: Bench,
):
    question = ModelMessage("user", "Read the whole book.")
    steps: list[ModelMessage] = []
    for page in range(8):
        call = ToolCall(f"call_{page}", "look_up", json.dumps({"page": page}))
        steps.append(ModelMessage("assistant", "", (call,)))
        steps.append(
            ModelMessage("tool", f"#page{page} " + "text of the book " * 15, tool_call_id=f"call_{page}")
        )
    events = await heard(
        start([SYSTEM, *exchange(0), question, *steps], bench.model(), toolset=Library(), done=8)
    )
    first, *_ = told = compactions(events)
    assert (first.covers, first.step) == ("conversation", 9)
    last_told = told[-1]
    assert last_told.covers == "steps"
    covered = sum(event.messages for event in told if event.covers == "steps") // 2
    assert 1 <= covered <= 7
    last = (await bench.requests())[-1]
    read = "\n".join(texts(last))
    assert "Read the whole book." in read
    assert last_told.summary in read
    assert steps[-1].text in texts(last)
    context = json.dumps(last["body"]["messages"])
    for page in range(8):
        # A call and its result are both there, or neither is.
        assert context.count(f"call_{page}") in ((2,) if page >= covered else (0,))


async def test_the_newest_message_has_to_fit_and_no_model_is_asked_in_vain(bench: Bench):
    events = start(conversation(3, "word " * 600), bench.model())
    assert await code_of(events) == "context_too_long"
    assert await bench.requests() == []


async def test_a_server_that_finds_it_too_long_is_asked_once_more_with_less(bench: Bench):
    await bench.script("too long")
    events = await heard(start(conversation(20), bench.model(), Window(None, 100)))
    [compacted] = compactions(events)
    assert compacted.tokens_after < compacted.tokens_before / 2
    refused, *_, last = await bench.requests()
    assert len(texts(last)) < len(texts(refused))
    assert compacted.summary in texts(last)[1]
    assert answer_of(events).text == "Hello"


async def test_a_server_that_finds_it_too_long_twice_ends_the_run(bench: Bench):
    # The summaries between the two refusals take what stands between them in the script.
    await bench.script("too long", "say: a summary", "too long")
    events = start(conversation(8), bench.model(), Window(None, 100))
    assert await code_of(events) == "context_too_long"
    assert [request["told"] for request in await bench.requests()] == [
        "too long",
        "say: a summary",
        "too long",
    ]


@pytest.mark.parametrize("window", [None, Window(None, 100), WINDOW])
async def test_where_nothing_can_be_left_out_the_refusal_is_told(bench: Bench, window: Window | None):
    await bench.script("too long")
    with pytest.raises(SomaError, match=r"too long for its model.*larger context window") as caught:
        await heard(start(conversation(0), bench.model(), window))
    assert caught.value.code == "context_too_long"
    assert len(await bench.requests()) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("fail 500", "model_failed"),
        ("cut after 2", "model_cut_off"),
        ("say:", "summary_failed"),
        ("limit: too much to tell", "summary_failed"),
        ("say: " + "blah " * 600, "summary_failed"),
    ],
)
async def test_a_summary_that_fails_fails_the_run_and_nothing_is_dropped(bench: Bench, fault: str, code: str):
    await bench.script(*[fault] * 3)
    assert await code_of(start(conversation(8), bench.model())) == code
    assert all(is_summary(request) for request in await bench.requests())


async def test_a_summary_that_is_too_long_is_asked_for_once_more_in_half_of_the_words(bench: Bench):
    await bench.script("limit: far too much to tell", "say: #short")
    events = await heard(start(conversation(8), bench.model()))
    [compacted] = compactions(events)
    assert "#short" in compacted.summary
    first, second, *_ = await bench.requests()
    most, half = (int(texts(one)[0].split("at most ")[1].split(" ")[0]) for one in (first, second))
    assert half == most // 2
    assert texts(first)[1] == texts(second)[1]
    assert compacted.usage.output_tokens > 5
    assert answer_of(events).text == "Hello"


async def test_a_summary_that_no_longer_fits_is_itself_summarised(bench: Bench):
    events = await heard(start(conversation(0), bench.model(), summary="#old " + "story of old " * 200))
    [compacted] = compactions(events)
    assert (compacted.messages, compacted.summary) == (0, "In short: #old")
    assert answer_of(events).text == "Hello"


async def test_what_the_summaries_used_is_counted_with_the_step(bench: Bench):
    async def opened() -> ChatModel:
        return bench.model()

    prices = Prices(Decimal(1), Decimal(1), Decimal(1))
    model = FallbackModel([Candidate("mine", opened, prices=prices)], on_failure=lambda *_: None)
    events = await heard(start(conversation(10), model))
    step = next(event for event in events if isinstance(event, StepCompleted))
    summaries = [event.usage for event in compactions(events)]
    assert all(used.input_tokens and used.cost for used in summaries)
    alone = step.usage.input_tokens - sum(used.input_tokens for used in summaries)
    assert 0 < alone < step.usage.input_tokens
    assert step.usage.cost == Decimal(step.usage.input_tokens + step.usage.output_tokens) / 1_000_000
    assert answer_of(events).usage == step.usage


async def test_what_the_server_counted_corrects_the_guess(bench: Bench):
    # This server counts words, of which there are fewer than of the tokens that we guess.
    first = await heard(start(conversation(4), bench.model()))
    step = next(event for event in first if isinstance(event, StepCompleted))
    assert 0.25 <= step.ratio < 1
    # By the first guess this is too much; by what the server counted of late it is not.
    assert len(compactions(await heard(start(conversation(7), bench.model())))) == 1
    again = start(conversation(7), bench.model(), replace(WINDOW, ratio=step.ratio))
    assert compactions(await heard(again)) == []


def test_a_guess_knows_that_scripts_differ():
    def guess(text: str) -> int:
        return tokens.guess([ModelMessage("user", text)])

    assert guess("The quick brown fox jumps over the lazy dog.") in range(12, 20)
    assert guess("敏捷的棕色狐狸跳过了懒狗") > 12
    call = ModelMessage("assistant", "", (ToolCall("call_0", "look_up", '{"page": 1}'),))
    assert tokens.guess([call]) > guess("")
    assert tokens.guess([call], Library().schemas()) > tokens.guess([call])
    assert (tokens.ratio(1, 1000), tokens.ratio(10_000, 10), tokens.ratio(5, 0)) == (0.25, 4.0, 4.0)


def test_a_server_that_counts_nothing_corrects_nothing():
    context = Context(conversation(3), window=WINDOW)
    context.learn(Usage().input_tokens)
    assert context.ratio == 1.0
