"""Secrets, kept out of log lines: by the name of a field, and by their look inside text."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

MASK = "••••"
_DEPTH = 8

_SECRET_NAME = re.compile(
    r"authorization|passw(or)?d|passphrase|secret|token$|api[_-]?key|private[_-]?key|access[_-]?key"
    r"|cookie|credential|session[_-]?key|csrf",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?P<scheme>\b(?:bearer|basic)\s+)(?:(?=[\w.~+/=-]*\d)[\w.~+/=-]{6,}|[\w.~+/=-]{16,})"
    r"|(?P<address>://[^/\s:@]*:)[^/\s@]+(?=@)"
    r"|(?P<field>\b(?:authorization|password|passwd|secret|secret_id|token|api[_-]?key|sessionid|csrftoken)"
    r"[\"']?\s*[=:]\s*[\"']?(?:(?:bearer|basic)\s+)?)[^\s\"',;&}]+"
    r"|(?P<cookies>\bcookie[\"']?\s*[=:]\s*)[^\r\n]+"
    r"|\b(?:hvs|hvb|hvr|sa|sk|pk|rk)[._-][\w.-]{16,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    re.IGNORECASE,
)
_ID = re.compile(r"[0-9a-f-]*")


@functools.lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret. Counts of tokens do not: their names end in ``tokens``."""
    return _SECRET_NAME.search(name) is not None


def masked(value: Any, depth: int = _DEPTH) -> Any:
    """The value with what is secret in it replaced; containers are copied, other objects left as they are."""
    if isinstance(value, str):
        return masked_text(value)
    if depth == 0:
        return MASK if isinstance(value, Mapping | list | tuple) else value
    if isinstance(value, Mapping):
        return {name: _field(name, item, depth - 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item, depth - 1) for item in value]
    if isinstance(value, bytes):
        return masked_text(value.decode("utf-8", "replace"))
    return value


def masked_text(text: str) -> str:
    """The text with keys, tokens and passwords in it replaced."""
    # Most values of a line are: what the expression finds holds a space or a sign, and other letters.
    if text.isalnum() or _ID.fullmatch(text):
        return text
    return _SECRET_TEXT.sub(_keep_label, text)


def _field(name: Any, value: Any, depth: int) -> Any:
    if isinstance(name, str) and is_secret_name(name) and not isinstance(value, bool | int | float | None):
        return MASK
    return masked(value, depth)


def _keep_label(found: re.Match[str]) -> str:
    label = found["scheme"] or found["address"] or found["field"] or found["cookies"] or ""
    return label + MASK
