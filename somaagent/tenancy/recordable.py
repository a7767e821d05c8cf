"""What a record can hold of a value: no secrets, and a bounded length and depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from somaagent.observability.masking import masked
from somaagent.texts import storable

_LONGEST_TEXT = 4_000
_DEPTH = 8


def recordable(value: Any) -> Any:
    """The value without secrets, in a length and depth that a record can hold."""
    return _bounded(masked(value), _DEPTH)


def _bounded(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        text = storable(value)
        return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text)} characters)"
    if isinstance(value, Mapping):
        return (
            {storable(str(key)): _bounded(item, depth - 1) for key, item in value.items()} if depth else "…"
        )
    if isinstance(value, list | tuple):
        return [_bounded(item, depth - 1) for item in value]
    return value
