"""Requests that never reach the protocol's server, answered in its own words: a JSON-RPC error, with the
status and the headers that HTTP has for it.
"""

from __future__ import annotations

import math
from http import HTTPStatus

from django.http import HttpResponse, JsonResponse

from somaagent.errors import Kind, SomaError
from somaagent.problems import STATUS

# JSON-RPC 2.0, section 5.1.
_PARSE_ERROR, _INVALID_REQUEST, _INTERNAL_ERROR = -32700, -32600, -32603
MALFORMED = "malformed"


def of_error(error: SomaError, message_id: object = None) -> HttpResponse:
    """``message_id``: what the client calls its request, where it could be read."""
    status = HTTPStatus.BAD_REQUEST if error.kind is Kind.INVALID else STATUS[error.kind]
    code = _INTERNAL_ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _INVALID_REQUEST
    if error.code == MALFORMED:
        code = _PARSE_ERROR
    told = {"code": code, "message": error.message, "data": {"code": error.code}}
    known = message_id if isinstance(message_id, str | int) and not isinstance(message_id, bool) else None
    response = JsonResponse({"jsonrpc": "2.0", "id": known, "error": told}, status=status)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        response["WWW-Authenticate"] = _challenge(error)
    if error.retry_after is not None:
        response["Retry-After"] = str(math.ceil(error.retry_after))
    return response


def _challenge(error: SomaError) -> str:
    """What a credential lacks (RFC 6750, section 3). Who sends none is told no reason."""
    reasons = {
        "credential_refused": 'error="invalid_token", '
        'error_description="The API key is unknown, expired or revoked"',
        "scope_missing": 'error="insufficient_scope", scope="write", '
        'error_description="The API key may only read: calling a tool needs the scope write"',
    }
    reason = reasons.get(error.code)
    return f'Bearer realm="somaagent", {reason}' if reason else 'Bearer realm="somaagent"'
