"""The JSON that an engine is asked with, and how much of it there may be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from .failures import Failure, PolicyError

MOST_CHARACTERS = 200_000
MOST_VALUES = 5_000  # rego-cpp takes time by their square: half a second for these
MOST_DEPTH = 64


def encoded(data: Mapping[str, Any]) -> str:
    """``data`` as JSON text in Unicode. Raises ``PolicyError`` for what is too large, too deep or no JSON.

    Numbers keep all their digits. Characters are written as they are, because rego-cpp leaves escapes inside
    its strings: only quotes, backslashes and control characters still have them.
    """
    _measure(data)
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError) as error:  # NaN, numbers of thousands of digits, halves of characters
        raise _refused(f"are not valid JSON ({error})") from error
    if size > MOST_CHARACTERS:
        raise _refused(f"take {size} bytes as JSON, which is more than {MOST_CHARACTERS}")
    return text


def _measure(data: Mapping[str, Any]) -> None:
    """Level by level, so that no depth of nesting can exhaust the stack."""
    level: list[Any] = [data]
    seen = 0
    for _ in range(MOST_DEPTH):
        seen += len(level)
        if seen > MOST_VALUES:
            raise _refused(f"hold more than {MOST_VALUES} values")
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise _refused(f"are nested more than {MOST_DEPTH} levels deep")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise _refused("have a key that is not text")
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _refused(what: str) -> PolicyError:
    return PolicyError(
        Failure.INPUT,
        f"The policy cannot judge this call: its facts and arguments {what}. Ask for less at once.",
    )
