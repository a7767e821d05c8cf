"""Text that can be kept, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def storable(text: str) -> str:
    """The text as PostgreSQL and JSON can hold it: without NUL and halves of surrogate pairs."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def storable_values(value: Any) -> Any:
    """A JSON value, all texts in which are storable, keys too."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(key): storable_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable_values(item) for item in value]
    return value
