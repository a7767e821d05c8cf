"""One's own browser sessions: where somebody is signed in, and how that ends."""

from __future__ import annotations

from typing import Any, cast

from allauth.usersessions.internal.flows.sessions import end_other_sessions, end_sessions
from allauth.usersessions.models import UserSession
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from somaagent.tenancy.models import User

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
    return render(request, "account/sessions.html", {"sessions": newest_first})


def _end(request: HttpRequest, user: User, which: str) -> None:
    if which == OTHERS:
        end_other_sessions(request, user)
        return
    # Another's looks like one that does not exist.
    found = UserSession.objects.filter(user=user, pk=int(which)).first() if _is_number(which) else None
    if found is None:
        raise Http404
    end_sessions(request, [found])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len("999999999999999999")
