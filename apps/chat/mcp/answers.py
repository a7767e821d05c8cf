"""What a call over MCP comes to, before it takes the protocol's shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from somaagent.errors import SomaError


@dataclass(frozen=True, slots=True)
class Answer:
    """``text`` for the client's model; ``structured`` for its program, where there is more to say.

    ``outcome`` is a word for log and metrics. ``failed``: the text says why there is no result.
    """

    text: str
    outcome: str
    structured: dict[str, Any] | None = None
    failed: bool = False


def of_error(error: SomaError) -> Answer:
    return Answer(error.message, error.code, failed=True)
