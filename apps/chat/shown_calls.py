"""Calls of tools as the page shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import orjson

from apps.tools.models import Answer
from somaagent.agent.ports import Outcome

from . import selectors
from .models import Call, CallState

MOST_RESULT = 4_000
_LONGEST_BRIEF = 90
_ENDED = {
    Outcome.OK: "Done",
    Outcome.FAILED: "Failed",
    Outcome.TIMED_OUT: "Took too long",
    Outcome.REFUSED: "Refused",
    Outcome.DENIED: "Denied",
    Outcome.EXPIRED: "Not approved in time",
    Outcome.CANCELLED: "Never ran",
    Outcome.CUT_SHORT: "Cut short",
}
_WAITS = {
    Answer.APPROVED: "Approved, waits for the others",
    Answer.DENIED: "Denied, waits for the others",
    Answer.EXPIRED: "Not approved in time",
}


@dataclass(frozen=True, slots=True)
class ShownCall:
    """A call of a tool. ``asks``: somebody has to say whether it may run. ``state`` is in words.

    ``mark`` changes whenever the rest does. ``arguments`` are those that it runs with, one to a line;
    ``brief`` is the beginning of them. ``wanted``: the model's own, where somebody changed them. ``said`` is
    what somebody answered, in words. ``more``: how many characters of the result are left out.
    """

    id: UUID
    turn_id: UUID
    call_id: str
    tool: str
    source: str
    asks: bool
    runs: bool
    failed: bool
    state: str
    mark: str
    brief: str
    arguments: str
    wanted: str
    risk: str
    reason: str
    expires_at: datetime | None
    said: str
    result: str
    more: int


def calls_of_turns(*, turn_ids: Iterable[UUID], reader: UUID) -> dict[UUID, tuple[ShownCall, ...]]:
    """The calls of each turn that made any, in their order. Inside the tenant's scope."""
    found: dict[UUID, list[ShownCall]] = {}
    for call in selectors.calls_of(turn_ids=turn_ids, most=MOST_RESULT):
        found.setdefault(call.turn_id, []).append(_shown(call, reader))
    return {turn_id: tuple(calls) for turn_id, calls in found.items()}


def _shown(call: Call, reader: UUID) -> ShownCall:
    asks = call.state == CallState.AWAITING and not call.answer
    result, length = cast("Any", call).shown_result, cast("Any", call).result_length
    arguments = call.edited_arguments or call.arguments
    return ShownCall(
        id=call.id,
        turn_id=call.turn_id,
        call_id=call.call_id,
        tool=call.tool,
        source=call.source.removeprefix("mcp:") if call.source.startswith("mcp:") else "",
        asks=asks,
        runs=call.state == CallState.RUNNING,
        failed=call.outcome not in ("", Outcome.OK) or call.answer in (Answer.DENIED, Answer.EXPIRED),
        state=_state(call),
        mark=f"{call.state} {call.answer} {call.outcome} {call.cut_short}",
        brief=_brief(arguments),
        arguments=_lines(arguments),
        wanted=_lines(call.arguments) if call.edited_arguments else "",
        risk=call.risk,
        reason=call.reason if call.asked_at else "",
        expires_at=call.expires_at,
        said=_said(call, reader),
        result=result,
        more=length - len(result),
    )


def _state(call: Call) -> str:
    if call.state == CallState.DONE:
        return _ENDED[Outcome(call.outcome)]
    if call.state == CallState.RUNNING:
        return "Running"
    return _WAITS[Answer(call.answer)] if call.answer else "Waits for approval"


def _said(call: Call, reader: UUID) -> str:
    if not call.answered_by:
        return ""
    who = "you" if call.answered_by == reader else f"an {call.answered_role} of your organisation"
    changed = " with other arguments" if call.edited_arguments else ""
    reason = f": {call.answer_reason}" if call.answer_reason else ""
    return f"{call.get_answer_display()}{changed} by {who}{reason}"


def _lines(arguments: str) -> str:
    """JSON one value to a line; what a model wrote that is none, as it is."""
    try:
        return orjson.dumps(orjson.loads(arguments), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return arguments


def _brief(arguments: str) -> str:
    text = " ".join(arguments.split())
    text = "" if text == "{}" else text
    return text if len(text) <= _LONGEST_BRIEF else f"{text[: _LONGEST_BRIEF - 1]}…"
