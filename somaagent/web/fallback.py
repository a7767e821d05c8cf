"""Answers outside every view: for programs problem+json, or what OpenAI's clients know; for people a page."""

from __future__ import annotations

import math
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from somaagent import problems
from somaagent.errors import Kind, SomaError
from somaagent.observability import metrics
from somaagent.problems import problem

from . import openai_errors

PROGRAMS = ("/api/", "/v1/", "/healthz", "/readyz", "/metrics", "/mcp")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, HTTPStatus.BAD_REQUEST, "malformed", "The request cannot be read.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, HTTPStatus.FORBIDDEN, "forbidden", "This is not for the signed-in user.")


def missing(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, HTTPStatus.NOT_FOUND, "not_found", "There is nothing at this address.")


def not_allowed(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Dress a bare 405, which Django and ninja answer with no word to it."""
    allowed = response.get("Allow", "")
    detail = f"This address takes {allowed}." if allowed else "This address does not take this method."
    dressed = _answer(request, HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    if allowed:
        dressed["Allow"] = allowed
    return dressed


def store_away(request: HttpRequest, error: Exception) -> HttpResponse:
    """Before a view is reached, a store turned out to be away."""
    of_error = openai_errors.of_error if openai_errors.is_ours(request.path) else problems.of_error
    return of_error(request, problems.absence(request, error))


def page_of_error(request: HttpRequest, error: SomaError) -> HttpResponse:
    """A page that says it to a person."""
    status = problems.STATUS[error.kind]
    facts = {"status": status.value, "title": status.phrase, "detail": error.message}
    facts["request_id"] = getattr(request, "request_id", "")
    response = render(request, "problem.html", facts, status=status)
    if error.retry_after is not None:
        response["Retry-After"] = str(math.ceil(error.retry_after))
    return response


def store_away_page(request: HttpRequest, error: Exception) -> HttpResponse:
    """What a page of ours needs is away."""
    return page_of_error(request, problems.absence(request, error))


def too_many(request: HttpRequest) -> HttpResponse:
    """An address asks for more sign-ins than it may (``settings.ACCOUNT_RATE_LIMITS``)."""
    metrics.RATE_LIMITED.labels(limit="sign_in").inc()
    sentence = "Too many attempts from this address. Wait for a minute, then try again."
    return page_of_error(request, SomaError(Kind.RATE_LIMITED, "rate_limited", sentence, retry_after=60))


async def overloaded(request: HttpRequest) -> HttpResponse:
    """More requests wait for a thread than will be answered soon."""
    of_error = openai_errors.of_error if openai_errors.is_ours(request.path) else problems.of_error
    sentence = "The server has more to do than it can. Try again in a moment."
    return of_error(request, SomaError(Kind.UNAVAILABLE, "overloaded", sentence, retry_after=1))


def refused(request: HttpRequest, error: SomaError) -> HttpResponse:
    """Before a view is reached, the one who asks is told to come back later."""
    if openai_errors.is_ours(request.path):
        return openai_errors.of_error(request, error)
    if request.path.startswith(PROGRAMS):
        return problems.of_error(request, error)
    response = _answer(request, problems.STATUS[error.kind], error.code, error.message)
    response["Retry-After"] = str(math.ceil(error.retry_after or 1))
    return response


def crashed(request: HttpRequest) -> HttpResponse:
    return _answer(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal",
        "The server failed at this request. Tell its operator the request id.",
    )


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    return _answer(
        request,
        HTTPStatus.FORBIDDEN,
        "csrf",
        "The page was open for too long, or cookies are off: reload it.",
    )


def _answer(request: HttpRequest, status: HTTPStatus, code: str, detail: str) -> HttpResponse:
    if openai_errors.is_ours(request.path):
        return openai_errors.answer(status, code, detail)
    if request.path.startswith(PROGRAMS):
        return problem(request, status, code, detail)
    facts = {"status": status.value, "title": status.phrase, "detail": detail}
    return render(
        request, "problem.html", {**facts, "request_id": getattr(request, "request_id", "")}, status=status
    )
