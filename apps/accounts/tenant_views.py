"""Choosing the organisation that one works in."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods

from somaagent.errors import not_found
from somaagent.tenancy.chosen import chosen_of

from . import choosing
from .access import person_page

FIRST_PAGE = "/"


@require_http_methods(["GET", "HEAD", "POST"])
@person_page
def organisations(request: HttpRequest) -> HttpResponseBase:
    """The list. POST: ``tenant`` is the one to work in from now on, ``next`` where to go then."""
    then = _safe(request, request.POST.get("next") or request.GET.get("next") or FIRST_PAGE)
    if request.method == "POST":
        choosing.choose(request, _tenant_id(request))
        return redirect(then)
    facts = {"places": choosing.places(request), "chosen": chosen_of(request.session), "next": then}
    return render(request, "account/organisations.html", facts)


def _tenant_id(request: HttpRequest) -> UUID:
    try:
        return UUID(request.POST.get("tenant", ""))
    except ValueError as error:
        raise not_found("organisation") from error


def _safe(request: HttpRequest, url: str) -> str:
    ours = {request.get_host()}
    safe = url_has_allowed_host_and_scheme(url, ours, require_https=request.is_secure())
    return url if safe else FIRST_PAGE
