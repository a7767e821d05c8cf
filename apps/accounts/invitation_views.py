"""The page where an invitation is accepted, by who has an account, and by who makes one there.

A link to it carries the token behind ``#``, which browsers send to nobody; a script of the page puts it into
the form, and the form sends it in its body. So no log of ours or of a proxy has it.
"""

from __future__ import annotations

from typing import Any, cast

from allauth.account.internal.flows.signup import complete_signup
from allauth.core.internal import ratelimit
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from somaagent import valkey
from somaagent.errors import Kind, SomaError
from somaagent.observability import metrics
from somaagent.problems import STATUS
from somaagent.tenancy.models import User
from somaagent.web import fallback

from . import choosing, invited
from .access import elsewhere
from .adapter import LIMITS
from .forms import AccountForm

FAILED = "invitation_failed"
TOO_MANY_REQUESTS, UNPROCESSABLE = 429, 422
WAIT_SECONDS = 300
OVER = (
    "This invitation opens nothing: it was used or revoked, or has expired, or its link is not whole. "
    "Ask whoever invited you for another one."
)
TOO_MANY = "Too many failed attempts. Wait for five minutes, then try again."


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest) -> HttpResponseBase:
    """What one is invited to. POST: ``token`` is the invitation, or its whole link."""
    try:
        if request.method == "POST":
            return _opened(request)
        return _shown(request, status=200)
    except valkey.ERRORS as error:
        return fallback.store_away_page(request, error)


@never_cache
@require_POST
def accept(request: HttpRequest) -> HttpResponseBase:
    """Who is signed in becomes a member."""
    first = elsewhere(request)
    if first is not None:
        return redirect("invitation") if not request.user.is_authenticated else first
    try:
        invited.accept(request, cast("User", request.user))
    except SomaError as error:
        return _refused(request, error)
    return redirect("chat")


@never_cache
@require_POST
def account(request: HttpRequest) -> HttpResponseBase:
    """Make an account and sign in with it. The invitation opens this, not ``settings.SIGNUP_OPEN``."""
    if request.user.is_authenticated:
        return redirect("invitation")
    try:
        return _account(request)
    except SomaError as error:
        return _refused(request, error)
    except valkey.ERRORS as error:
        return fallback.store_away_page(request, error)


@never_cache
@require_POST
def leave(request: HttpRequest) -> HttpResponseBase:
    """Go on as somebody else; with ``forget``, forget the invitation, which stays open."""
    if "forget" in request.POST:
        invited.drop(request)
        return redirect("chat")
    invited.leave(request)
    return redirect("invitation")


def _opened(request: HttpRequest) -> HttpResponseBase:
    attempt = ratelimit.consume(request, app=LIMITS, action=FAILED)
    if attempt is None:
        return _too_many(request)
    try:
        invited.hold(request, request.POST.get("token", ""))
    except SomaError as error:
        metrics.SIGN_INS.labels(how="invitation", outcome="refused").inc()
        return _refused(request, error)
    attempt.rollback()
    return redirect("invitation")


def _account(request: HttpRequest) -> HttpResponseBase:
    # Whether a name is taken is told here: as often as a guess is.
    attempt = ratelimit.consume(request, app=LIMITS, action=FAILED)
    if attempt is None:
        return _too_many(request)
    shown = invited.held(request)
    if shown is None:
        return redirect("invitation")
    form = AccountForm(request.POST)
    if not form.is_valid():
        return _shown(request, status=UNPROCESSABLE, form=form)
    user, accepted = invited.account_make(request, form)
    attempt.rollback()
    choosing.settle(request, accepted.membership.tenant_id)
    response: HttpResponse = complete_signup(request, user=user, redirect_url="/")
    return response


def _shown(request: HttpRequest, *, status: int, **facts: Any) -> HttpResponseBase:
    try:
        shown = invited.held(request)
    except SomaError as error:
        return _refused(request, error)
    if shown is not None and request.user.is_authenticated:
        first = elsewhere(request)
        if first is not None:
            return first
    facts = {"shown": shown, "form": AccountForm()} | facts
    return render(request, "account/invitation.html", facts, status=status)


def _refused(request: HttpRequest, error: SomaError) -> HttpResponse:
    """In one sentence: of an invitation that is over nobody is told why."""
    sentence = OVER if error.kind is Kind.NOT_FOUND else error.message
    status = STATUS[error.kind].value
    return render(request, "account/invitation.html", {"shown": None, "error": sentence}, status=status)


def _too_many(request: HttpRequest) -> HttpResponse:
    metrics.SIGN_INS.labels(how="invitation", outcome="locked").inc()
    metrics.RATE_LIMITED.labels(limit="sign_in").inc()
    facts = {"shown": None, "error": TOO_MANY}
    response = render(request, "account/invitation.html", facts, status=TOO_MANY_REQUESTS)
    response["Retry-After"] = str(WAIT_SECONDS)
    return response
