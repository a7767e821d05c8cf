"""Calls and outputs of functions in a conversation, as a model is told them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apps.chat.told import Said, whole_of
from somaagent.agent.messages import ModelMessage, ToolCall, Usage
from somaagent.agent.step_events import StepCompleted


def said(number: int, text: str = "", *, items: list[Any] | None = None, calls: tuple[str, ...] = ()) -> Said:
    steps = []
    if calls:
        asked = ModelMessage("assistant", text, tuple(ToolCall(call, "look", "{}") for call in calls))
        steps = [StepCompleted(1, asked, (), Usage(), "tool_calls")]
    return Said(UUID(int=number), "assistant" if calls or number % 2 else "user", text, items, steps)


def output(call: str, text: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call, "output": text}


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def facts(messages: list[ModelMessage]) -> list[tuple[str, str, str]]:
    return [
        (message.role, message.text, message.tool_call_id or ",".join(call.id for call in message.tool_calls))
        for message in messages
    ]


def test_outputs_stand_after_their_calls_whatever_was_said_between():
    whole = whole_of(
        [
            said(0, items=[user("Look")]),
            said(1, calls=("a", "b")),
            said(2, items=[user("Well?"), output("b", "B"), output("a", "A")]),
        ]
    )
    assert facts(whole.messages) == [
        ("user", "Look", ""),
        ("assistant", "", "a,b"),
        ("tool", "A", "a"),
        ("tool", "B", "b"),
        ("user", "Well?", ""),
    ]
    assert whole.ids == [UUID(int=number) for number in (0, 1, 1, 1, 2)]


def test_an_id_that_is_used_again_belongs_to_the_last_call_before():
    whole = whole_of(
        [
            said(1, calls=("a",)),
            said(2, items=[output("a", "first")]),
            said(3, calls=("a",)),
            said(4, items=[output("a", "second")]),
        ]
    )
    assert [text for role, text, _ in facts(whole.messages) if role == "tool"] == ["first", "second"]


def test_calls_without_outputs_and_outputs_without_calls_are_left_out():
    whole = whole_of(
        [
            said(1, "I look.", calls=("a",)),
            said(2, "Never mind"),
            said(4, items=[output("z", "Z"), user("Hi")]),
        ]
    )
    assert facts(whole.messages) == [
        ("assistant", "I look.", ""),
        ("user", "Never mind", ""),
        ("user", "Hi", ""),
    ]


def test_a_message_counts_as_held_where_all_that_it_stands_for_is():
    whole = whole_of([said(0, items=[user("one"), user("two")]), said(1, "three")])
    assert whole.ids == [None, UUID(int=0), UUID(int=1)]
