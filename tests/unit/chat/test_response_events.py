"""A turn's events as those of a response, where its host changes on the way."""

from __future__ import annotations

from typing import Any

from apps.chat.responses.events import RESTARTED, Narrator
from apps.chat.responses.output import Output, output_of
from apps.chat.responses.shapes import Frame
from somaagent.agent.events import TextDelta, TurnCancelled, TurnCompleted, TurnEvent, TurnFailed, TurnStarted
from somaagent.agent.messages import NOTHING_USED, ModelMessage, ToolCall, Usage
from somaagent.agent.step_events import (
    ApprovalAnswered,
    ApprovalRequired,
    StepCompleted,
    ToolFinished,
    ToolStarted,
)

USED = Usage(9, 0, 5, 0)
SEARCH = ToolCall("call_1", "search", '{"q": "x"}')


def step(number: int, text: str, *calls: ToolCall, results: tuple[str, ...] = ()) -> StepCompleted:
    replies = tuple(ModelMessage("tool", text, tool_call_id="call_1") for text in results)
    message = ModelMessage("assistant", text, calls)
    return StepCompleted(number, message, replies, Usage(3, 0, 2, 0), "tool_calls" if calls else "stop")


def told(*events: TurnEvent, background: bool = False) -> list[dict[str, Any]]:
    narrator = Narrator(Frame("resp_1", 0, {"background": background}), "1")
    return [*narrator.begin(), *(told for event in events for told in narrator.take(event))]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def deltas(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


def texts(response: dict[str, Any]) -> list[str]:
    return [item["content"][0]["text"] for item in response["output"] if item["type"] == "message"]


COMPLETED = TurnCompleted("one two three", Usage(6, 0, 4, 0), "m")


def test_calls_of_tools_and_questions_are_told_once_whoever_tells_them_again():
    finished = ToolFinished(1, "call_1", "search", "found")
    events = told(
        TurnStarted("1"),
        ApprovalRequired(1, SEARCH, "It must be asked.", "high"),
        TurnStarted("1", 2),
        ApprovalAnswered(1, "call_1", "approved"),
        ToolStarted(1, SEARCH),
        finished,
        TurnStarted("1", 3),
        ApprovalAnswered(1, "call_1", "approved"),
        finished,
        step(1, "", SEARCH, results=("found",)),
        COMPLETED,
    )
    ours = [event for event in events if event["type"].startswith("somaagent.")]
    assert [event["type"].removeprefix("somaagent.") for event in ours] == [
        "approval.required",
        "approval.answered",
        "tool.started",
        "tool.finished",
    ]
    assert (ours[0]["call"]["id"], ours[0]["risk"]) == ("call_1", "high")
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_another_host_that_writes_the_same_goes_on_where_the_first_one_left_off():
    events = told(
        TurnStarted("1"),
        TextDelta("one "),
        TextDelta("two"),
        TurnStarted("1", 2),
        TextDelta("on"),
        TextDelta("e two th"),
        TextDelta("ree"),
        step(1, "one two three"),
        COMPLETED,
    )
    assert deltas(events) == "one two three"
    assert kinds(events).count("in_progress") == 1
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert texts(events[-1]["response"]) == ["one two three"]


def test_another_host_that_writes_something_else_says_so_once_and_gives_the_whole_at_the_end():
    events = told(
        TurnStarted("1"),
        TextDelta("one two"),
        TurnStarted("1", 2),
        TextDelta("one"),
        TextDelta(" day"),
        step(1, "one day"),
        TurnCompleted("one day", Usage(), "m"),
    )
    *before, error, last = events
    assert (error["code"], error["sequence_number"]) == (RESTARTED, len(before))
    assert deltas(before) == "one two"
    assert last["type"] == "response.completed"
    assert texts(last["response"]) == ["one day"]


def test_another_host_that_writes_less_differs_too():
    events = told(
        TurnStarted("1"),
        TextDelta("one two"),
        TurnStarted("1", 2),
        TextDelta("one"),
        step(1, "one"),
        COMPLETED,
    )
    assert kinds(events)[-2:] == ["error", "completed"]


def test_steps_that_are_done_are_told_once():
    first = step(1, "I look.", SEARCH, results=("found",))
    events = told(
        TurnStarted("1"),
        TextDelta("I look."),
        first,
        TextDelta("He"),
        TurnStarted("1", 2),
        TextDelta("I look."),
        first,
        TextDelta("Here"),
        TurnStarted("1", 3),
        TextDelta("I look."),
        first,
        TextDelta("Here it is"),
        step(2, "Here it is"),
        COMPLETED,
    )
    assert deltas(events) == "I look.Here it is"
    items = [event["item"]["id"] for event in events if event["type"] == "response.output_item.done"]
    assert items == ["msg_1_1", "msg_1_2"]
    assert texts(events[-1]["response"]) == ["I look.", "Here it is"]


def test_a_step_that_was_kept_but_not_told_is_told_by_the_next_host():
    first = step(1, "I look.", SEARCH, results=("found",))
    events = told(
        TurnStarted("1"),
        TextDelta("I l"),
        TurnStarted("1", 2),
        TextDelta("I look."),
        first,
        TextDelta("Here"),
        step(2, "Here"),
        COMPLETED,
    )
    assert deltas(events) == "I look.Here"
    assert "error" not in kinds(events)


def test_calls_for_the_caller_are_items_and_those_of_tools_here_are_not():
    events = told(TurnStarted("1"), step(1, "", SEARCH), TurnCompleted("", Usage(), "m"))
    assert kinds(events)[2:6] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    (call,) = events[-1]["response"]["output"]
    assert (call["id"], call["call_id"], call["arguments"]) == ("fc_1_1_0", "call_1", '{"q": "x"}')


def test_what_was_stopped_or_failed_ends_what_it_was_saying():
    for ending, kind, status in (
        (TurnCancelled(USED), "incomplete", "cancelled"),
        (TurnFailed("model_failed", "It failed.", retryable=True, usage=USED), "failed", "failed"),
    ):
        events = told(TurnStarted("1"), TextDelta("one tw"), ending)
        assert kinds(events)[-4:] == ["output_text.done", "content_part.done", "output_item.done", kind]
        assert events[-2]["item"]["status"] == "incomplete"
        assert (events[-1]["response"]["status"], texts(events[-1]["response"])) == (status, ["one tw"])
        assert events[-1]["response"]["usage"]["output_tokens"] == USED.output_tokens


def test_in_the_background_it_waits_first():
    assert kinds(told(background=True)) == ["created", "queued"]
    assert kinds(told(TurnCancelled(NOTHING_USED), background=True)) == ["created", "queued", "incomplete"]


def test_rows_give_the_same_output_as_events():
    output: Output = output_of("1", [step(1, "I look.", SEARCH, results=("found",))], "I look.He")
    assert [item["status"] for item in output.all_items()] == ["completed", "incomplete"]
