"""Answers outside every view: problem+json for programs, a plain page for people."""

from __future__ import annotations

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from somaagent.problems import problem

PROGRAMS = ("/api/", "/v1/", "/healthz", "/readyz", "/metrics")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, HTTPStatus.BAD_REQUEST, "malformed", "The request cannot be read.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, HTTPStatus.FORBIDDEN, "forbidden", "This is not for the signed-in user.")


def missing(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, HTTPStatus.NOT_FOUND, "not_found", "There is nothing at this address.")


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
    if request.path.startswith(PROGRAMS):
        return problem(request, status, code, detail)
    facts = {"status": status.value, "title": status.phrase, "detail": detail}
    return render(
        request, "problem.html", {**facts, "request_id": getattr(request, "request_id", "")}, status=status
    )
