"""Errors as clients of OpenAI's API know them, for everything under ``/v1`` but the health view."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from somaagent.agent.failures import is_retryable
from somaagent.errors import Kind, SomaError
from somaagent.problems import STATUS, register

logger = structlog.get_logger(__name__)

# Where their clients look for another word or status than the platform's own.
CODES = {
    "credential_missing": "invalid_api_key",
    "credential_refused": "invalid_api_key",
    "context_too_long": "context_length_exceeded",
    "session_busy": "conversation_locked",
}
STATUSES = {
    "model_rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    # Nobody asked the model: it is we who are not ready to.
    "model_circuit_open": HTTPStatus.SERVICE_UNAVAILABLE,
    # Here the caller chooses what is asked, so what the model's server does not take is the caller's to mend.
    "model_refused_request": HTTPStatus.BAD_REQUEST,
    "context_too_long": HTTPStatus.BAD_REQUEST,
}
MOST_REASONS = 3


def is_ours(path: str) -> bool:
    """Whether answers at this address have the shape of this module."""
    return path.startswith("/v1/") and path != "/v1/health"


def error_of(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """The body of an error answer, and of the last event of a stream that broke."""
    kind = "invalid_request_error"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = "server_error"
    elif status == HTTPStatus.PAYMENT_REQUIRED:
        kind = "insufficient_quota"
    elif status == HTTPStatus.TOO_MANY_REQUESTS:
        kind = "rate_limit_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def status_of(error: SomaError) -> HTTPStatus:
    if error.kind is Kind.INVALID:
        return HTTPStatus.BAD_REQUEST
    return STATUSES.get(error.code, STATUS[error.kind])


def told(error: SomaError) -> dict[str, Any]:
    """A failure of the domain as a body."""
    code = CODES.get(error.code, error.code)
    param = error.field.removeprefix("body.") if error.field else None
    return error_of(status_of(error), code, error.message, param)


def answer(status: int, code: str, message: str, param: str | None = None) -> HttpResponse:
    return JsonResponse(error_of(status, code, message, param), status=status)


def of_error(request: HttpRequest, error: SomaError) -> HttpResponse:
    status = status_of(error)
    response = JsonResponse(told(error), status=status)
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        response["Retry-After"] = str(math.ceil(error.retry_after))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # Their clients try again after every 5xx unless they are told that it is of no use.
        response["X-Should-Retry"] = "true" if is_retryable(error) else "false"
    return response


def _of_validation(request: HttpRequest, error: ValidationError) -> HttpResponse:
    reasons = [(_param(item), _reason(item)) for item in error.errors[:MOST_REASONS]]
    param = reasons[0][0] if reasons else None
    message = "; ".join(f"{place or 'the body'}: {reason}" for place, reason in reasons)
    unknown = bool(error.errors) and error.errors[0].get("type") == "extra_forbidden"
    code = "unsupported_parameter" if unknown else "invalid_value"
    return answer(HTTPStatus.BAD_REQUEST, code, f"Mend this and send again: {message}.", param)


def _reason(item: dict[str, Any]) -> str:
    return str(item.get("msg", "is not valid")).removeprefix("Value error, ")


def _param(item: dict[str, Any]) -> str | None:
    """``("body", "body", "messages", 0, "content")`` as ``messages[0].content``."""
    place = ""
    for part in tuple(item.get("loc", ()))[2:]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}"
    return place.removeprefix(".") or None


def _of_http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return answer(HTTPStatus.BAD_REQUEST, "malformed", "The body is not JSON that can be read.")
    return answer(error.status_code, HTTPStatus(error.status_code).name.lower(), str(error))


def _of_oversized(request: HttpRequest, _: Exception) -> HttpResponse:
    return answer(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", "The request's body is too large: say less."
    )


def _of_suspicious(request: HttpRequest, error: Exception) -> HttpResponse:
    return answer(HTTPStatus.BAD_REQUEST, "malformed", f"The request cannot be read: {error}.")


def _of_missing(request: HttpRequest, _: Exception) -> HttpResponse:
    return answer(HTTPStatus.NOT_FOUND, "not_found", "There is nothing at this address.")


def _of_crash(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("request.crashed", path=request.path, exc_info=error)
    return answer(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal",
        "The server failed at this request. Tell its operator the request id.",
    )


def install(api: NinjaAPI) -> None:
    """Give an API these answers."""
    handlers: list[tuple[type[Exception], Any]] = [
        (ValidationError, _of_validation),
        (HttpError, _of_http_error),
        (RequestDataTooBig, _of_oversized),
        (SuspiciousOperation, _of_suspicious),
        (Http404, _of_missing),
        (Exception, _of_crash),
    ]
    register(api, of_error, handlers)
