"""Small toolsets that the others are composed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jsonschema_rs
import orjson

from somaagent.agent.messages import ToolCall
from somaagent.agent.ports import ToolResult, ToolSchema, Toolset

_MAX_REASONS = 5


class EmptyToolset:
    """No tools at all."""

    def schemas(self) -> Sequence[ToolSchema]:
        return ()

    async def call(self, call: ToolCall) -> ToolResult:
        return ToolResult(f"There is no tool named {call.name!r}.", is_error=True)


class ValidatedToolset:
    """Lets only calls through that name a tool of the set and whose arguments fit its schema.

    What does not fit becomes an error result that tells the model how to do better.
    """

    def __init__(self, inner: Toolset) -> None:
        self._inner = inner
        self._schemas = tuple(inner.schemas())
        self._validators: dict[str, Any] = {
            schema.name: jsonschema_rs.validator_for(dict(schema.parameters), offline=True)
            for schema in self._schemas
        }

    def schemas(self) -> Sequence[ToolSchema]:
        return self._schemas

    async def call(self, call: ToolCall) -> ToolResult:
        """Runs the call; blank arguments count as ``{}``, because several models write none for no
        arguments.
        """
        validator = self._validators.get(call.name)
        if validator is None:
            known = ", ".join(sorted(self._validators)) or "none"
            return ToolResult(f"There is no tool named {call.name!r}. Tools: {known}.", is_error=True)
        written = call.arguments.strip() or "{}"
        try:
            arguments = orjson.loads(written)
        except orjson.JSONDecodeError as error:
            return ToolResult(f"The arguments are not valid JSON: {error}.", is_error=True)
        reasons = [
            _reason(error)
            for _, error in zip(range(_MAX_REASONS), validator.iter_errors(arguments), strict=False)
        ]
        if reasons:
            return ToolResult("The arguments do not fit: " + "; ".join(reasons) + ".", is_error=True)
        return await self._inner.call(ToolCall(call.id, call.name, written))


def _reason(error: Any) -> str:
    path = "/".join(str(part) for part in error.instance_path)
    return f"{path or 'arguments'}: {error.message}"
