"""Keeping the record: decisions as they fall, calls as they end. Nothing of it is ever changed."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import time
from collections.abc import Mapping
from typing import Any

import orjson
from django.utils import timezone

from somaagent.agent.messages import ToolCall
from somaagent.agent.ports import Action, Outcome, ToolResult, Toolset, Verdict
from somaagent.agent.toolsets import WrapperToolset
from somaagent.errors import SomaError
from somaagent.observability import metrics
from somaagent.tenancy.outbox.statements import event, told
from somaagent.tenancy.patience import performed_patiently
from somaagent.tenancy.recordable import recordable
from somaagent.tenancy.scripts import Script, Statement, inserted, together
from somaagent.texts import storable

from .answers import Past
from .models import LONGEST_REASON, ToolCallRecord, ToolDecision
from .policy.inputs import Decision, Question
from .tool import Caller, Tool, TooSlow

_THERE = "SELECT FROM tools_toolcallrecord WHERE turn_id = %(turn)s::uuid AND call_id = %(call)s::text"
_CUT_SHORT = "Its caller went away while it ran; it may have taken effect."


async def decision_keep(question: Question, decision: Decision, call_id: str) -> None:
    row = ToolDecision(
        id=decision.id,
        tenant_id=question.caller.tenant_id,
        call_id=call_id,
        tool=question.tool.name,
        source=question.tool.source,
        input=recordable(question.data()),
        effect=decision.effect.value,
        reason=decision.reason[:LONGEST_REASON],
        policy=decision.policy,
        **_who(question.caller),
    )
    await _kept(question.caller, inserted(row, once="id"))


def call_statements(row: ToolCallRecord) -> list[Statement]:
    """Keeps how a call ended, and the event of it, once: who goes on with a turn may come to the same end.

    To be sent ``together``: the event is for a record that is not there yet.
    """
    data = {
        "user_id": row.user_id,
        "session_id": row.session_id,
        "turn_id": row.turn_id,
        "call_id": row.call_id,
        "tool": row.tool,
        "source": row.source,
        "outcome": row.outcome,
        "answer": row.answer,
        "seconds": row.seconds,
    }
    called = event(
        tenant_id=row.tenant_id,
        kind="tool.called",
        subject=row.id,
        data=data,
        unless=Statement(_THERE, {"turn": row.turn_id, "call": row.call_id}),
    )
    return [told(called), inserted(row, once="turn_id, call_id")]


class RecordedToolset(WrapperToolset):
    """Keeps how each call ended: those that are refused, and those that ran."""

    def __init__(self, inner: Toolset, tools: Mapping[str, Tool], caller: Caller, past: Past) -> None:
        super().__init__(inner)
        self._tools, self._caller, self._past = tools, caller, past
        self._verdicts: dict[str, Verdict] = {}

    async def judge(self, call: ToolCall) -> Verdict:
        verdict = await super().judge(call)
        self._verdicts[call.id] = verdict
        if verdict.action is Action.REFUSE:
            await self._keep(verdict.call, ToolResult(verdict.reason, verdict.outcome))
        return verdict

    async def call(self, call: ToolCall) -> ToolResult:
        started_at, began = timezone.now(), time.monotonic()
        try:
            result = await super().call(call)
        except TooSlow as error:
            result = ToolResult(error.message, Outcome.TIMED_OUT)
        except SomaError as error:
            result = ToolResult(error.message, Outcome.FAILED)
        except asyncio.CancelledError:
            # Of a turn's call its row tells how far it was; this one has none.
            if self._caller.turn_id is None:
                await self._keep(call, ToolResult(_CUT_SHORT, Outcome.CUT_SHORT), started_at=started_at)
            raise
        seconds = time.monotonic() - began
        metrics.TOOL_SECONDS.labels(tool=call.name).observe(seconds)
        await self._keep(call, result, started_at=started_at, seconds=seconds)
        return result

    async def _keep(self, call: ToolCall, result: ToolResult, **ran: Any) -> None:
        tool = self._tools.get(call.name)
        metrics.TOOL_CALLS.labels(tool=tool.name if tool else "unknown", outcome=result.outcome.value).inc()
        row = call_record(
            caller=self._caller,
            call=call,
            source=tool.source if tool else "",
            decision=self._verdicts[call.id].decision,
            result=result,
        )
        for name, value in ran.items():
            setattr(row, name, value)
        if answered := self._past.answers.get(call.id):
            row.answer, row.answered_by = answered.answer, answered.by
            row.edited = answered.arguments is not None
        await _kept(self._caller, together(*call_statements(row)))


def call_record(
    *, caller: Caller, call: ToolCall, source: str, decision: str, result: ToolResult
) -> ToolCallRecord:
    ok = result.outcome is Outcome.OK
    return ToolCallRecord(
        tenant_id=caller.tenant_id,
        call_id=call.id,
        tool=storable(call.name)[:64],
        source=source,
        arguments=recordable(_arguments(call)),
        decision_id=decision or None,
        outcome=result.outcome.value,
        reason="" if ok else storable(result.text)[:LONGEST_REASON],
        result_digest=hashlib.sha256(result.text.encode()).hexdigest() if ok else "",
        result_characters=len(result.text) if ok else 0,
        **_who(caller),
    )


def _who(caller: Caller) -> dict[str, Any]:
    return {
        "user_id": caller.user_id,
        "agent": caller.agent or "",
        "session_id": caller.session_id,
        "turn_id": caller.turn_id,
    }


def _arguments(call: ToolCall) -> Any:
    """As JSON where they are JSON, as text where the model wrote something else."""
    try:
        return orjson.loads(call.arguments)
    except orjson.JSONDecodeError:
        return call.arguments


async def _kept(caller: Caller, statement: Statement) -> None:
    def script() -> Script[None]:
        yield [statement]

    await performed_patiently(caller.tenant_id, functools.partial(script))
