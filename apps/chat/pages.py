"""The page at ``/``, and the parts of it that it asks for later.

Writes go to ``/api/v1``, but for answers to questions of approval: their arguments are JSON that a person
wrote, which a browser would read with the precision of its own numbers.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_http_methods, require_safe
from pydantic import ValidationError

from apps.accounts.access import page
from apps.accounts.choosing import here
from apps.sessions import selectors as sessions
from somaagent import problems
from somaagent.errors import SomaError, invalid
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import Scope
from somaagent.tenancy.scope import in_tenant
from somaagent.web.request import actor_of

from . import approvals, live, selectors, sse, turns
from .approval_bodies import AnswerIn
from .approvals import Given
from .models import OPEN_STATES
from .transcript import Transcript, calls, session_page, transcript


@require_safe
@page
def chat(request: HttpRequest, actor: Actor, session_id: UUID | None = None) -> HttpResponseBase:
    """The whole page: the list of sessions, and one of them or a new one."""
    shown = transcript(actor=actor, session_id=session_id) if session_id else None
    archived = shown.session.archived_at is not None if shown else "archived" in request.GET
    facts = _facts(actor, shown, archived=archived)
    return render(request, "chat/page.html", {**facts, "here": here(actor)})


def _facts(actor: Actor, shown: Transcript | None, *, archived: bool) -> dict[str, object]:
    return {
        **_conversation(actor, shown),
        "sessions": session_page(actor=actor, archived=archived),
        "agents": list(sessions.agent_list()),
        "longest": settings.MESSAGE_MAX_CHARS,
    }


def _conversation(actor: Actor, shown: Transcript | None) -> dict[str, object]:
    """``may_change``: the reader may edit, ask again and go to other branches; not in an archived session."""
    may_write = Scope.WRITE in actor.scopes
    session = shown.session if shown else None
    open_to_change = session is None or session.archived_at is None
    return {
        "transcript": shown,
        "session": session,
        "may_write": may_write,
        "may_change": may_write and open_to_change,
        "may_answer": may_write,
    }


@require_safe
@page
def session_items(request: HttpRequest, actor: Actor) -> HttpResponseBase:
    """A part of the list: the newest sessions, or those behind ``?cursor=``."""
    listed = session_page(actor=actor, archived="archived" in request.GET, cursor=_cursor(request))
    return render(request, "chat/session_items.html", {"sessions": listed})


@require_safe
@page
def entries(request: HttpRequest, actor: Actor, session_id: UUID) -> HttpResponseBase:
    """A part of a conversation: its end, or what stands before ``?cursor=``."""
    shown = transcript(actor=actor, session_id=session_id, cursor=_cursor(request))
    return render(request, "chat/entries.html", _conversation(actor, shown))


def _cursor(request: HttpRequest) -> UUID | None:
    text = request.GET.get("cursor")
    try:
        return UUID(text) if text else None
    except ValueError as error:
        raise invalid("query.cursor", "This is no cursor of ours: reload the page.") from error


@require_http_methods(["GET", "HEAD", "POST"])
async def turn_calls(request: HttpRequest, turn_id: UUID) -> HttpResponseBase:
    """The turn's calls of tools as the page shows them; POST: after an answer to one that waits for approval.

    The form has ``call_id``, ``decision``, and where they are given ``reason`` and ``arguments``.
    """
    try:
        actor = actor_of(request)
        actor.require(Scope.WRITE if request.method == "POST" else Scope.READ)
        await in_tenant(actor.tenant_id, selectors.turn_get, actor=actor, turn_id=turn_id)
        if request.method == "POST":
            await approvals.answer(actor=actor, turn_id=turn_id, given=[_given(request.POST.dict())])
        html = await in_tenant(actor.tenant_id, _calls, actor, turn_id)
    except SomaError as error:
        return problems.of_error(request, error)
    return HttpResponse(html)


def _given(form: dict[str, Any]) -> Given:
    if "arguments" in form:
        try:
            form["arguments"] = orjson.loads(form["arguments"])
        except orjson.JSONDecodeError as error:
            raise invalid("body.arguments", f"This is no JSON: {error}.") from error
    try:
        return AnswerIn.model_validate(form).given()
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in ("body", *first["loc"]))
        raise invalid(field, f"{first['msg']}.") from error


def _calls(actor: Actor, turn_id: UUID) -> str:
    facts = {"calls": calls(actor=actor, turn_id=turn_id), "may_answer": Scope.WRITE in actor.scopes}
    return render_to_string("chat/calls.html", facts)


@require_safe
async def render_turn(request: HttpRequest, turn_id: UUID) -> HttpResponseBase:
    """The turn's answer as HTML while it is written (server-sent events, see ``live``)."""
    try:
        actor = actor_of(request)
        actor.require(Scope.READ)
        after = sse.cursor_of(request.headers.get("Last-Event-ID"), None)
        if after and await in_tenant(actor.tenant_id, _seen, actor, turn_id, after):
            # To a browser that connects again this says: stop (WHATWG HTML, section 9.2.3).
            return HttpResponse(status=204)
        records = await turns.follow(actor=actor, turn_id=turn_id, after=0)
    except SomaError as error:
        return problems.of_error(request, error)
    return sse.response_of(live.stream(actor, turn_id, records), bytes)


def _seen(actor: Actor, turn_id: UUID, after: int) -> bool:
    """Whether a client with this cursor has seen the turn's end."""
    turn = selectors.turn_get(actor=actor, turn_id=turn_id)
    return turn.state not in OPEN_STATES and 0 < turn.last_event <= after
