"""The one place where an error becomes an answer: RFC 9457 ``application/problem+json``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI, Schema
from ninja.errors import HttpError, ValidationError

from somaagent import valkey
from somaagent.errors import Kind, SomaError
from somaagent.tenancy.scope import DATABASE_AWAY

logger = structlog.get_logger(__name__)

Answer = Callable[[HttpRequest, SomaError], HttpResponse]

STATUS = {
    Kind.INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Kind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Kind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Kind.CONFLICT: HTTPStatus.CONFLICT,
    Kind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.OVER_BUDGET: HTTPStatus.PAYMENT_REQUIRED,
    Kind.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.UPSTREAM: HTTPStatus.BAD_GATEWAY,
}


class FieldProblem(Schema):
    """One input at fault: where it stands (``body.input``, ``query.limit``) and what is wrong with it."""

    field: str
    message: str


class Problem(Schema):
    """The body of every error answer under ``/api/v1``."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: list[FieldProblem] = []


# What any operation of the API may answer with besides its own; 400 is a body that cannot be read.
PROBLEMS: dict[int, type[Schema]] = dict.fromkeys((400, 401, 403, 404, 413, 422), Problem)


def problem(
    request: HttpRequest,
    status: int,
    code: str,
    detail: str,
    errors: list[FieldProblem] | None = None,
    retry_after: float | None = None,
) -> HttpResponse:
    """An answer of type ``application/problem+json``."""
    body = Problem(
        type=f"urn:somaagent:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        request_id=getattr(request, "request_id", ""),
        errors=errors or [],
    )
    response = JsonResponse(body.model_dump(), status=status, content_type="application/problem+json")
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    if retry_after is not None:
        response["Retry-After"] = str(math.ceil(retry_after))
    return response


def of_error(request: HttpRequest, error: SomaError) -> HttpResponse:
    errors = [FieldProblem(field=error.field, message=error.message)] if error.field else None
    return problem(request, STATUS[error.kind], error.code, error.message, errors, error.retry_after)


def _of_validation(request: HttpRequest, error: ValidationError) -> HttpResponse:
    errors = [
        FieldProblem(field=_field(item), message=str(item.get("msg", "is not valid")))
        for item in error.errors
    ]
    names = ", ".join(dict.fromkeys(item.field for item in errors))
    return problem(
        request, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", f"Mend these and send again: {names}.", errors
    )


def _field(item: dict[str, Any]) -> str:
    """``("body", "data", "input")`` as ``body.input``: ninja names its parameter in between."""
    place = [str(part) for part in item.get("loc", ())]
    if len(place) > 1 and place[0] == "body":
        place.pop(1)
    return ".".join(place) or "request"


def _of_http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    code = (
        "malformed"
        if error.status_code == HTTPStatus.BAD_REQUEST
        else HTTPStatus(error.status_code).name.lower()
    )
    errors = [FieldProblem(field="body", message=str(error))] if code == "malformed" else None
    return problem(request, error.status_code, code, str(error), errors)


def _of_oversized(request: HttpRequest, _: Exception) -> HttpResponse:
    detail = "The request's body is too large."
    return problem(
        request,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body_too_large",
        detail,
        [FieldProblem(field="body", message=detail)],
    )


def _of_suspicious(request: HttpRequest, error: Exception) -> HttpResponse:
    return problem(request, HTTPStatus.BAD_REQUEST, "malformed", f"The request cannot be read: {error}.")


def _of_missing(request: HttpRequest, _: Exception) -> HttpResponse:
    return problem(request, HTTPStatus.NOT_FOUND, "not_found", "There is nothing at this address.")


def absence(request: HttpRequest, error: Exception) -> SomaError:
    """PostgreSQL or Valkey is away, for the time of a restart perhaps: the log says which."""
    logger.warning("request.store_unavailable", path=request.path, reason=str(error))
    sentence = "A server that keeps the data is away. Try again in a moment."
    return SomaError(Kind.UNAVAILABLE, "store_unavailable", sentence, retry_after=2)


def of_crash(request: HttpRequest, error: Exception) -> HttpResponse:
    """A bug. Its trace goes to the log, under the request id that the answer carries."""
    logger.error("request.crashed", path=request.path, exc_info=error)
    return problem(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal",
        "The server failed at this request. Tell its operator the request id.",
    )


def register(api: NinjaAPI, of_error: Answer, handlers: Sequence[tuple[type[Exception], Any]]) -> None:
    """Give an API its answers. ``of_error`` shapes the domain's errors, and the absence of a store."""

    def of_absence(request: HttpRequest, error: Exception) -> HttpResponse:
        return of_error(request, absence(request, error))

    # Ninja's type says that a handler may be given a class; it gives instances.
    everything: list[tuple[type[Exception], Any]] = [(SomaError, of_error), *handlers]
    everything += [(away, of_absence) for away in (*DATABASE_AWAY, *valkey.ERRORS)]
    for kind, handler in everything:
        api.add_exception_handler(kind, handler)


def install(api: NinjaAPI) -> None:
    """Give an API the answers of this module."""
    handlers: list[tuple[type[Exception], Any]] = [
        (ValidationError, _of_validation),
        (HttpError, _of_http_error),
        (RequestDataTooBig, _of_oversized),
        (SuspiciousOperation, _of_suspicious),
        (Http404, _of_missing),
        (Exception, of_crash),
    ]
    register(api, of_error, handlers)
