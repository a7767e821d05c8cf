"""One's own browser sessions: where somebody is signed in, and how that ends."""

from __future__ import annotations

from typing import Any, cast

from allauth.usersessions.models import UserSession
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from somaagent.tenancy.audit.entries import Who
from somaagent.tenancy.chosen import chosen_of
from somaagent.tenancy.models import User

from .browsers import in_words
from .endings import sessions_end

OTHERS = "others"


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def own_sessions(request: HttpRequest) -> HttpResponse:
    """The list. POST ends those that ``end`` names: one by its number, or ``others``."""
    user = cast("User", request.user)
    if request.method == "POST":
        _end(request, user, request.POST.get("end", ""))
        return redirect("own-sessions")
    listed = UserSession.objects.purge_and_list(user)
    newest_first: list[Any] = sorted(listed, key=lambda session: session.created_at, reverse=True)
    shown = [{"session": session, "browser": in_words(session.user_agent)} for session in newest_first]
    return render(request, "account/sessions.html", {"shown": shown})


def _end(request: HttpRequest, user: User, which: str) -> None:
    mine = UserSession.objects.filter(user=user)
    told: dict[str, Any] = {"by": Who(user.pk, "browser"), "chosen": chosen_of(request.session)}
    if which == OTHERS:
        others = mine.exclude(session_key=request.session.session_key)
        sessions_end(user=user, sessions=others, **told)
        return
    # Another's looks like one that does not exist.
    found = mine.filter(pk=int(which)).first() if _is_number(which) else None
    if found is None:
        raise Http404
    if found.is_current():
        found.delete()
        logout(request)
    else:
        sessions_end(user=user, sessions=[found], **told)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len("999999999999999999")
