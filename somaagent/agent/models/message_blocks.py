"""The blocks that a message consists of in Anthropic's Messages API."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from somaagent.agent import failures
from somaagent.agent.content import File, Image, Part, Reasoning, Text
from somaagent.agent.messages import ModelMessage

PROTOCOL = "anthropic"

Block = dict[str, Any]


def blocks_of(message: ModelMessage, model: str) -> list[Block]:
    """The API refuses blocks of text with nothing in them. Reasoning comes first, as the API has it.

    Raises ``model_refused_request`` for what the API has no word for.
    """
    if message.role == "system":
        return []
    if message.role == "tool":
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.text}]
    blocks = [_thought(piece) for piece in message.reasoning if _signed(piece, model)]
    for part in message.parts or (Text(message.text),):
        blocks += _part(part)
    return blocks + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)}
        for call in message.tool_calls
    ]


def _signed(piece: Reasoning, model: str) -> bool:
    return piece.of(PROTOCOL, model) and bool(piece.native.get("signature") or piece.native.get("redacted"))


def _thought(piece: Reasoning) -> Block:
    if redacted := piece.native.get("redacted"):
        return {"type": "redacted_thinking", "data": redacted}
    return {"type": "thinking", "thinking": piece.text, "signature": piece.native["signature"]}


def _part(part: Part) -> list[Block]:
    match part:
        case Text():
            return [{"type": "text", "text": part.text}] if part.text.strip() else []
        case Image():
            return [_image(part)]
        case File():
            return [{"type": "document", "title": part.name, "source": _source(part)}]


def _image(image: Image) -> Block:
    if image.detail not in (None, "auto"):
        raise failures.refused_request("Anthropic's protocol knows no detail of an image")
    if image.url is not None:
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    return {"type": "image", "source": _base64(image.media_type, image.content)}


def _source(file: File) -> Block:
    if file.media_type == "application/pdf":
        return _base64(file.media_type, file.content)
    if not file.media_type.startswith("text/"):
        raise failures.refused_request(
            f"Anthropic's protocol takes PDF and text files, and {file.name!r} is {file.media_type}"
        )
    try:
        text = base64.b64decode(file.content, validate=True).decode()
    except ValueError:
        raise failures.refused_request(f"the file {file.name!r} is not text in UTF-8") from None
    return {"type": "text", "media_type": "text/plain", "data": text}


def _base64(media_type: str | None, content: str | None) -> Block:
    return {"type": "base64", "media_type": media_type, "data": content}


def _input(arguments: str) -> dict[str, Any]:
    """The API takes objects only. The model has been told what was wrong with anything else it wrote."""
    try:
        values = orjson.loads(arguments.strip() or "{}")
    except orjson.JSONDecodeError:
        values = None
    return values if isinstance(values, dict) else {"unreadable": arguments}
