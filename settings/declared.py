"""What an operator declares as a JSON object, in a setting's text or in a file that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs

_LARGEST_FILE = 1_000_000


def declared(text: str, validator: jsonschema_rs.Validator) -> dict[str, Any]:
    """The object, as the schema wants it. Raises ``ValueError``, whose text follows the setting's name."""
    written = text if text.startswith("{") else _content(text)
    try:
        found: dict[str, Any] = json.loads(written)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error
    for wrong in validator.iter_errors(found):
        where = ".".join(map(str, wrong.instance_path)) or "its names"
        raise ValueError(f"is wrong at {where}: {wrong.message}")
    return found


def _content(path: str) -> str:
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            return file.read(_LARGEST_FILE)
    except (OSError, ValueError) as error:
        raise ValueError(f"is neither a JSON object nor a file that can be read ({path})") from error
