"""What a model reads and writes: messages, tool calls and what a call to it used up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal, Self

from somaagent.agent.content import Part, Reasoning, Text, part_of
from somaagent.money import decimal_text
from somaagent.texts import storable, storable_values

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to have a tool called. ``arguments`` is JSON text exactly as the model wrote it.

    ``native`` is what the model's server wants back with the call, unchanged (Gemini signs its calls).
    """

    id: str
    name: str
    arguments: str
    native: Mapping[str, Any] | None = field(default=None, hash=False)

    def data(self) -> dict[str, Any]:
        """As JSON values; what is empty is left out."""
        data: dict[str, Any] = {"id": self.id, "name": self.name, "arguments": self.arguments}
        return data | {"native": dict(self.native)} if self.native else data

    def storable(self) -> Self:
        return replace(
            self,
            id=storable(self.id),
            name=storable(self.name),
            arguments=storable(self.arguments),
            native=storable_values(self.native),
        )

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["id"], data["name"], data["arguments"], data.get("native"))


@dataclass(frozen=True, slots=True)
class ModelMessage:
    """One message of a conversation.

    ``tool_calls`` and ``reasoning`` only with role ``assistant``; ``tool_call_id`` only with role ``tool``,
    where ``text`` is the result of that call. ``parts`` only with role ``user``: everything that the message
    holds, in order, where that is more than text; ``text`` is then the text of the parts.
    """

    role: Role
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    parts: tuple[Part, ...] = ()
    reasoning: tuple[Reasoning, ...] = ()

    def __post_init__(self) -> None:
        if self.parts and (self.role != "user" or self.text != _text_of(self.parts)):
            raise ValueError("Parts belong to a user's message, and its text is theirs.")

    @classmethod
    def of_parts(cls, parts: Sequence[Part]) -> Self:
        """A user's message."""
        plain = all(isinstance(part, Text) for part in parts)
        return cls("user", _text_of(parts), parts=() if plain else tuple(parts))

    def data(self) -> dict[str, Any]:
        """As JSON values; what is empty is left out."""
        data: dict[str, Any] = {"role": self.role, "text": self.text}
        if self.tool_calls:
            data["tool_calls"] = [call.data() for call in self.tool_calls]
        if self.tool_call_id is not None:
            data["tool_call_id"] = self.tool_call_id
        if self.parts:
            data["parts"] = [part.data() for part in self.parts]
        if self.reasoning:
            data["reasoning"] = [piece.data() for piece in self.reasoning]
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        calls = tuple(ToolCall.from_data(call) for call in data.get("tool_calls", ()))
        parts = tuple(part_of(part) for part in data.get("parts", ()))
        reasoning = tuple(Reasoning.from_data(piece) for piece in data.get("reasoning", ()))
        return cls(data["role"], data["text"], calls, data.get("tool_call_id"), parts, reasoning)


def _text_of(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more model calls, as the model's server counted them.

    ``cached_tokens`` are part of ``input_tokens``, ``reasoning_tokens`` part of ``output_tokens``. ``cost``
    is in the currency of the profile's prices; ``None``: not known, and so is any sum with it.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal | None = None

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            None if self.cost is None or other.cost is None else self.cost + other.cost,
        )

    def tokens(self) -> dict[str, int]:
        """How many of each kind."""
        return {
            "input_tokens": self.input_tokens,
            "cached_tokens": self.cached_tokens,
            "output_tokens": self.output_tokens,
            "reasoning_tokens": self.reasoning_tokens,
        }

    def data(self) -> dict[str, int | str | None]:
        return {**self.tokens(), "cost": decimal_text(self.cost)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Usage that was written down before there were costs has none that is known."""
        cost = data.get("cost")
        return cls(
            data["input_tokens"],
            data["cached_tokens"],
            data["output_tokens"],
            data["reasoning_tokens"],
            None if cost is None else Decimal(cost),
        )


NOTHING_USED = Usage(cost=Decimal(0))
"""Where sums begin: no call, no cost."""
