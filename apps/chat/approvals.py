"""Answers to the question whether a call of a tool may run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.utils import timezone

from apps.sessions import statements as sessions
from apps.tools import toolbox
from apps.tools.models import Answer
from apps.tools.policy import judging
from apps.tools.policy.inputs import Question
from apps.tools.tool import Caller, Tool
from somaagent.agent.toolsets import ArgumentsSchema
from somaagent.errors import Kind, SomaError, invalid, not_found
from somaagent.observability import metrics
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.audit.entries import entry, who
from somaagent.tenancy.scripts import Last, Script, Statement, look, perform, read
from somaagent.tenancy.statements import membership, role_of

from . import calls, host, statements
from .models import Call, CallState, Turn
from .selectors import ELDERS


@dataclass(frozen=True, slots=True)
class Given:
    """An answer: approve or not, why, and the arguments to run it with instead, where they are changed."""

    call_id: str
    approve: bool
    reason: str = ""
    arguments: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A turn, its calls that were asked about, and on whose behalf they would run."""

    turn: Turn
    calls: Mapping[str, Call]
    caller: Caller
    tools: Sequence[str]


async def answer(*, actor: Actor, turn_id: UUID, given: Sequence[Given]) -> list[Call]:
    """Answer some of a turn's questions, or all: with the last of them the turn goes on. Gives them all.

    Giving the same answer again changes nothing. Raises ``not_found``, ``approval_forbidden`` (by policy),
    ``already_answered``, or INVALID with the field.
    """
    asked = await look(actor.tenant_id, _asked(actor, turn_id))
    tools = await toolbox.tools_named(actor.tenant_id, asked.tools)
    changed: list[Call] = []
    for number, one in enumerate(given):
        call = asked.calls.get(one.call_id)
        if call is None:
            raise invalid(f"body.calls.{number}.call_id", "This turn asks about no such call.")
        if not _is_same(call, one):
            await _check(actor, asked, tools.get(call.tool), call, one, f"body.calls.{number}")
            changed.append(_answered(actor, call, one))
    goes_on, kept = await perform(actor.tenant_id, _kept(actor, turn_id, changed))
    for call in changed:
        metrics.TOOL_APPROVALS.labels(answer=call.answer).inc()
    if goes_on:
        host.start(turn_id, actor.tenant_id)
    return kept


def _asked(actor: Actor, turn_id: UUID) -> Script[_Asked]:
    turns, rows = yield [statements.turn_of_tenant(turn_id), calls.awaiting(turn_id)]
    turn = read(Turn, turns[0]) if turns else None
    if turn is None or (turn.user_id != actor.user_id and actor.role not in ELDERS):
        raise not_found("turn")
    agents, members = yield [sessions.session_agent(turn.session_id), membership(turn.user_id)]
    agent = sessions.agent_of(agents, None)
    caller = Caller(turn.tenant_id, turn.user_id, role_of(members), agent.slug, turn.session_id, turn.id)
    return _Asked(turn, {call.call_id: call for call in calls.rows_of(rows)}, caller, agent.tools)


def _is_same(call: Call, given: Given) -> bool:
    """Whether the call has this answer already. Raises ``already_answered`` where it has another."""
    if call.state == CallState.AWAITING and not call.answer:
        return False
    wanted = Answer.APPROVED if given.approve else Answer.DENIED
    arguments = None if given.arguments is None else _text(given.arguments)
    if call.answer == wanted and arguments in (None, call.edited_arguments):
        return True
    word = call.get_answer_display().lower() or "no longer asked about"
    raise SomaError(Kind.CONFLICT, "already_answered", f"The call “{call.call_id}” is {word}.")


async def _check(
    actor: Actor, asked: _Asked, tool: Tool | None, call: Call, given: Given, field: str
) -> None:
    """Whether the actor may give this answer, by the policy; and whether changed arguments fit."""
    if tool is None:
        if given.approve:
            raise invalid(f"{field}.decision", "The agent has this tool no longer: it can only be denied.")
        return
    if given.arguments is not None:
        if not given.approve:
            raise invalid(f"{field}.arguments", "A call that is denied needs no arguments.")
        if fault := ArgumentsSchema(tool.parameters).fault(_text(given.arguments)):
            raise invalid(f"{field}.arguments", fault)
    arguments = given.arguments if given.arguments is not None else orjson.loads(call.arguments)
    question = Question(caller=asked.caller, tool=tool, arguments=arguments)
    allowed, reason = await judging.may_approve(question, judging.Approver(actor.user_id, actor.role))
    if not allowed:
        raise SomaError(Kind.FORBIDDEN, "approval_forbidden", f"Policy: {reason}")


def _answered(actor: Actor, call: Call, given: Given) -> Call:
    call.answer = Answer.APPROVED if given.approve else Answer.DENIED
    call.answered_by, call.answered_role = actor.user_id, actor.role
    call.answered_at, call.answer_reason = timezone.now(), given.reason
    if given.arguments is not None:
        call.edited_arguments = _text(given.arguments)
    return call


def _kept(actor: Actor, turn_id: UUID, answered: Sequence[Call]) -> Script[tuple[bool, list[Call]]]:
    """Keep the answers, and queue the turn where they were the last. Somebody else may have been quicker."""
    yield [statements.locked(turn_id)]
    for call in answered:
        (rows,) = yield [calls.answer(call)]
        if not rows:
            sentence = f"The call “{call.call_id}” was answered in the same moment, or waits no longer."
            raise SomaError(Kind.CONFLICT, "already_answered", sentence)
    (((number, _),),) = yield [calls.unanswered(turn_id)]
    queued = []
    if not number:
        (queued,) = yield [statements.goes_on(turn_id)]
    rows, *_ = yield Last([calls.awaiting(turn_id), *(_audited(actor, call) for call in answered)])
    return bool(queued), calls.rows_of(rows)


def _audited(actor: Actor, call: Call) -> Statement:
    facts = {
        "answer": call.answer,
        "tool": call.tool,
        "call_id": call.call_id,
        "reason": call.answer_reason,
        "edited": call.edited_arguments is not None,
    }
    return entry(
        by=who(actor), action="approval.answered", target_type="turn", target_id=call.turn_id, facts=facts
    )


def _text(arguments: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(arguments), option=orjson.OPT_SORT_KEYS).decode()


async def questions(*, actor: Actor, turn_id: UUID) -> list[Call]:
    """The turn's calls that were asked about, oldest first, answered or not."""
    asked = await look(actor.tenant_id, _asked(actor, turn_id))
    return list(asked.calls.values())
