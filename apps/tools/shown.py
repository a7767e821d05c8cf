"""A value that came out of the sandbox, as text: of any size and shape, at a bounded cost.

``repr`` would not do: lists in lists that are shared are small in memory and endless when written out, and
the digits of a long number take minutes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from itertools import islice
from typing import Any

_DEEPEST = 30
_MOST_BITS = 14_000  # of a number that Python writes out
_PLAIN = (
    bool,
    float,
    complex,
    Decimal,
    date,
    datetime,
    time,
    timedelta,
    tzinfo,
    range,
    type(None),
    type(...),
)
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    deque: ("deque([", "])"),
}


def shown(value: Any, most: int) -> str:
    """A string itself, anything else much as ``repr`` has it: at most ``most`` characters, and a word on it
    where something was left out.
    """
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[:most]}\n[{len(value) - most} more characters]"
    parts, left = [], most
    for part in _parts(value, most, 0):
        parts.append(part[:left])
        left -= len(part)
        if left < 0:
            return "".join(parts) + "\n[the rest of the value is left out]"
    return "".join(parts)


def _parts(value: Any, most: int, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        yield "…"
    elif type(value) in _BRACKETS:
        before, after = _BRACKETS[type(value)]
        yield before
        for number, each in enumerate(value):
            yield ", " if number else ""
            yield from _parts(each, most, depth + 1)
        yield ",)" if type(value) is tuple and len(value) == 1 else after
    elif isinstance(value, Mapping):
        yield "{"
        for number, (key, each) in enumerate(value.items()):
            yield ", " if number else ""
            yield from _parts(key, most, depth + 1)
            yield ": "
            yield from _parts(each, most, depth + 1)
        yield "}"
    else:
        yield _one(value, most)


def _one(value: Any, most: int) -> str:
    if isinstance(value, str | bytes):
        return repr(value[: most + 1])
    if isinstance(value, int) and not isinstance(value, bool):
        bits = value.bit_length()
        return str(value) if bits < _MOST_BITS else f"<a number of {bits} bits>"
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, BaseException):
        return f"{type(value).__name__}({_one(str(value), most)})"
    return f"<{_kind(value)}>"


def _kind(value: Any) -> str:
    """Of an instance of a class of the code's own, that class."""
    return "".join(islice(str(getattr(value, "name", type(value).__name__)), 100))
