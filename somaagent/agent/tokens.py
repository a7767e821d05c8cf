"""How many tokens a model will count, guessed without its tokenizer.

Tokenizers of today work on bytes of UTF-8 and make about four bytes of English prose into a token, three of
code or JSON, and three of a script that takes two or three bytes a character. We take 3.5, so that prose is
guessed too high rather than too low, and four tokens more for what a server puts around each message. What a
server counted for the same conversation corrects the guess (``ratio``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import orjson

from somaagent.agent.messages import ModelMessage
from somaagent.agent.ports import ToolSchema

BYTES_PER_TOKEN = 3.5
TOKENS_AROUND_MESSAGE = 4
# What a server counts that is further away was not counted as we think: without what it had kept, say.
LEAST_RATIO, GREATEST_RATIO = 0.25, 4.0
# Far above what any model reads or writes at once, and a turn of many steps still has a sum that can be kept.
MOST = 10_000_000


def guess(messages: Iterable[ModelMessage], tools: Sequence[ToolSchema] = ()) -> int:
    """Tokens of a request with these messages and tools."""
    messages = tuple(messages)
    size = sum(_size(message) for message in messages) + sum(_size_of_tool(tool) for tool in tools)
    return math.ceil(size / BYTES_PER_TOKEN) + TOKENS_AROUND_MESSAGE * len(messages)


def guess_of(given: str | Sequence[int]) -> int:
    """Tokens of a text, or of what is cut into tokens already."""
    return math.ceil(_bytes(given) / BYTES_PER_TOKEN) if isinstance(given, str) else len(given)


def told(value: object) -> int:
    """A count of tokens as a server told it; 0 where it told none, or what cannot be one."""
    return int(value) if isinstance(value, int | float) and 0 <= value <= MOST else 0


def ratio(counted: int, guessed: int) -> float:
    """How many tokens a server counts for each that we guess."""
    return min(max(counted / max(guessed, 1), LEAST_RATIO), GREATEST_RATIO)


def _size(message: ModelMessage) -> int:
    calls = sum(_bytes(call.id) + _bytes(call.name) + _bytes(call.arguments) for call in message.tool_calls)
    return _bytes(message.text) + calls + sum(_bytes(piece.text) for piece in message.reasoning)


def _size_of_tool(tool: ToolSchema) -> int:
    return _bytes(tool.name) + _bytes(tool.description) + len(orjson.dumps(dict(tool.parameters)))


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
