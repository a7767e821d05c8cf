"""What the caller of one turn wants besides an answer, as its row keeps it, for whichever host answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import orjson

from somaagent.agent.ports import ModelSettings, ToolSchema

# The form of ``Turn.request``: raised with every change that older code could not read.
REQUEST_VERSION = 1


@dataclass(frozen=True, slots=True)
class Request:
    """How to answer, and what is said in a form that text alone has not.

    ``items``: the input, as ``/v1/responses`` shows it. ``instructions`` follow the agent's own, for this
    turn alone. ``tools`` are the caller's functions. ``shown``: the part of the response that repeats the
    request.
    """

    items: Sequence[Mapping[str, Any]]
    instructions: str | None
    settings: ModelSettings
    tools: tuple[ToolSchema, ...]
    shown: Mapping[str, Any]

    def data(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "version": REQUEST_VERSION,
            "items": list(self.items),
            "instructions": self.instructions,
            "settings": dataclasses.asdict(self.settings),
            "tools": [dataclasses.asdict(tool) for tool in self.tools],
            "shown": dict(self.shown),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        settings = data["settings"] | {"stop": tuple(data["settings"]["stop"])}
        tools = tuple(ToolSchema(**tool) for tool in data["tools"])
        return cls(data["items"], data["instructions"], ModelSettings(**settings), tools, data["shown"])


def request_of(kept: str | Mapping[str, Any] | None) -> Request | None:
    """What a turn's row keeps: JSON values, or their text where a statement gave the column as it is."""
    if kept is None:
        return None
    return Request.from_data(orjson.loads(kept) if isinstance(kept, str) else kept)
