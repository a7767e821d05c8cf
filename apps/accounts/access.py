"""Who may see a page: a signed-in member whose password is their own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers

from somaagent.errors import SomaError
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.scope import tenant_scope
from somaagent.web.authentication import SECOND_FACTOR_MISSING
from somaagent.web.fallback import page_of_error
from somaagent.web.request import Request

from . import choosing
from .places import password_change_url

PageView = Callable[..., HttpResponseBase]


def page(view: PageView) -> PageView:
    """Call ``view(request, actor, …)`` in the actor's tenant; send everybody else where they belong."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = elsewhere(request)
        if response is None:
            response = _answered(view, request, _browser_actor(request), args, kwargs)
        add_never_cache_headers(response)
        return response

    return guarded


def person_page(view: PageView) -> PageView:
    """Call ``view(request, …)`` for whoever is signed in, also where they belong to no organisation."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = elsewhere(request) or view(request, *args, **kwargs)
        except SomaError as error:
            response = page_of_error(request, error)
        add_never_cache_headers(response)
        return response

    return guarded


def elsewhere(request: HttpRequest) -> HttpResponseBase | None:
    """Where somebody has to go before they may see anything; None for who has nothing to do before."""
    user = request.user
    if not user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    if user.password_is_one_time:
        return redirect(password_change_url(request.get_full_path()))
    if request.session.get(SECOND_FACTOR_MISSING):
        return redirect("mfa_index")
    return None


def placeless(request: HttpRequest) -> HttpResponseBase:
    """The page for who works nowhere now. It says so where it was otherwise before, and forgets that."""
    lost = choosing.forget(request)
    left = choosing.places(request)
    template = "account/place_lost.html" if lost and left else "account/no_membership.html"
    return render(request, template, {"lost": lost, "places": left}, status=403)


def _browser_actor(request: HttpRequest) -> Actor | None:
    """The session's actor. A bearer key is for programs: no page is shown to it."""
    actor = cast("Request", request).actor
    return actor if actor is not None and actor.via == "browser" else None


def _answered(
    view: PageView, request: HttpRequest, actor: Actor | None, args: Any, kwargs: Any
) -> HttpResponseBase:
    if actor is None:
        return placeless(request)
    choosing.keep(request, actor)
    try:
        with tenant_scope(actor.tenant_id):
            return view(request, actor, *args, **kwargs)
    except SomaError as error:
        return page_of_error(request, error)
