"""What a tool of an MCP server gave, as text. Whatever it says, it is only text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from .texts import bounded, plain

_MOST_PARTS = 200
_MOST_LABEL = 200


@dataclass(frozen=True, slots=True)
class Result:
    text: str
    is_error: bool


def told(result: Any) -> Result:
    """The SDK's ``CallToolResult``. What is no text is said, and not passed on."""
    parts = [_part(part) for part in result.content[:_MOST_PARTS]]
    if len(result.content) > _MOST_PARTS:
        parts.append(f"[{len(result.content) - _MOST_PARTS} more parts are left out]")
    if not parts and result.structured_content is not None:
        parts = [orjson.dumps(result.structured_content).decode()]
    return Result(plain("\n".join(parts)), bool(result.is_error))


def _part(part: Any) -> str:
    if part.type == "text":
        return str(part.text)
    if part.type in ("image", "audio"):
        size = len(part.data) * 3 // 4 - part.data[-2:].count("=")
        return f"[{_label(part.mime_type)}, {size} bytes: not shown]"
    if part.type == "resource_link":
        return f"[a link to {_label(part.uri)}: not opened]"
    return f"[the resource {_label(part.resource.uri)}: not shown]"


def _label(text: Any) -> str:
    return " ".join(bounded(str(text), _MOST_LABEL).split())
