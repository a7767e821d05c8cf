"""Turns with tools as a worker hosts them, and the answers to what they ask."""

from __future__ import annotations

from typing import Any

from apps.chat import approvals, host, tasks
from apps.chat.approvals import Given
from apps.chat.models import Call, Turn
from somaagent.background import run_coroutine
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation


def hosted(acme: Organisation, turn: Turn) -> Turn:
    tasks.turn_run(str(turn.id), str(acme.tenant.id))
    run_coroutine(host.idle())
    return now(acme, turn)


def now(acme: Organisation, turn: Turn) -> Turn:
    with tenant_scope(acme.tenant.id):
        return Turn.objects.select_related("output_message").get(id=turn.id)


def answered(acme: Organisation, turn: Turn, *given: Given, by: Any = None) -> Turn:
    """Somebody answers, and the process that took the answer goes on with the turn."""

    async def answer() -> None:
        await approvals.answer(actor=by or acme.owner, turn_id=turn.id, given=given)
        await host.idle()

    run_coroutine(answer())
    return now(acme, turn)


def question(acme: Organisation, turn: Turn) -> Call:
    with tenant_scope(acme.tenant.id):
        return Call.objects.get(turn=turn, state="awaiting")
