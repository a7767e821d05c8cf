"""What a status other than 200 of a model server means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import orjson

from somaagent.agent import failures
from somaagent.errors import SomaError

_SHOWN_CHARS = 300
_TOO_LONG_WORDS = {"context_length_exceeded", "exceed_context_size_error"}
_TOO_LONG_SENTENCE = re.compile(
    r"maximum context length"
    r"|prompt is too long"
    r"|exceeds? (the )?(available )?context (size|window|length|limit)"
    r"|context (size|window|length) (has been|was|is) exceeded"
    r"|input token count .*exceeds the maximum"
    r"|too large for model with \d+ maximum context",
    re.IGNORECASE,
)


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, *, model: str, secret: str | None
) -> SomaError:
    """The error for a response. ``secret`` never appears in it, even when the server quotes it."""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return failures.refused_key(status)
    if status == HTTPStatus.NOT_FOUND:
        return failures.not_found(model)
    if status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT}:
        return failures.timed_out(f"The model server gave up waiting (status {status}).", ask_again=True)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return failures.rate_limited(retry_after(headers))
    reason = _reason(body, secret)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or _is_too_long(_told(body)):
        return failures.too_long(reason or f"status {status}")
    said = f"status {status}, {reason}" if reason else f"status {status}"
    if status < HTTPStatus.BAD_REQUEST:
        said = f"it redirects (status {status}), and the profile must name the final address"
    failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return (
        failures.failed(said, retry_after=retry_after(headers)) if failed else failures.refused_request(said)
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from ``Retry-After`` (seconds or a date) or ``retry-after-ms``; ``None`` when it is
    not said.
    """
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        value = headers.get("Retry-After")
        return None if value is None else max(0.0, _seconds(value))
    except ValueError:  # it is the server's to say; what can't be read is as good as not said
        return None


def _seconds(value: str) -> float:
    if value.strip().isdecimal():
        return float(value)
    moment = parsedate_to_datetime(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime.now(UTC)).total_seconds()


def _reason(body: bytes, secret: str | None) -> str:
    return told_reason(_told(body), secret)


def _told(body: bytes) -> Any:
    """What stands under ``error``, ``message`` or ``detail``: servers differ."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(told, dict):
        return None
    return told.get("error") or told.get("message") or told.get("detail")


def _is_too_long(error: Any) -> bool:
    """Whether a server says that a conversation is longer than its model's context window.

    OpenAI and llama.cpp have a word of their own for it (``context_length_exceeded`` and
    ``exceed_context_size_error``); vLLM, Anthropic, Gemini and Mistral say it in a sentence.
    """
    if isinstance(error, dict):
        words = {str(error.get("code")), str(error.get("type"))}
        return bool(words & _TOO_LONG_WORDS) or _is_too_long(error.get("message"))
    return isinstance(error, str) and _TOO_LONG_SENTENCE.search(error) is not None


def told_error(error: Any, secret: str | None) -> SomaError:
    """The error that a server describes in an answer that began well."""
    kind = str(error.get("type") or error.get("code") or "") if isinstance(error, dict) else ""
    if "rate_limit" in kind or kind == "429":
        return failures.rate_limited(None)
    reason = told_reason(error, secret) or "it gave no reason"
    if _is_too_long(error):
        return failures.too_long(reason)
    if "invalid_request" in kind:
        return failures.refused_request(reason)
    return failures.failed(reason)


def told_reason(error: Any, secret: str | None) -> str:
    """The sentence in an error object, as one short line; empty when there is none."""
    said = error.get("message") if isinstance(error, dict) else error
    if not isinstance(said, str):
        return ""
    if secret:
        said = said.replace(secret, "[key]")
    return " ".join(said.split())[:_SHOWN_CHARS].rstrip(" .")
