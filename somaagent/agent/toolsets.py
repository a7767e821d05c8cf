"""Small toolsets that the others are composed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jsonschema_rs
import orjson

from somaagent.agent.messages import ToolCall
from somaagent.agent.ports import Action, ToolResult, ToolSchema, Toolset, Verdict

_MAX_REASONS = 5


class EmptyToolset(Toolset):
    """No tools at all."""

    def schemas(self) -> Sequence[ToolSchema]:
        return ()

    async def judge(self, call: ToolCall) -> Verdict:
        return Verdict(Action.REFUSE, call, f"There is no tool named {call.name!r}.")

    async def call(self, call: ToolCall) -> ToolResult:
        raise LookupError(call.name)


class WrapperToolset(Toolset):
    """Another toolset, as it is: those that change something about it inherit from this."""

    def __init__(self, inner: Toolset) -> None:
        self.inner = inner

    def schemas(self) -> Sequence[ToolSchema]:
        return self.inner.schemas()

    async def judge(self, call: ToolCall) -> Verdict:
        return await self.inner.judge(call)

    async def call(self, call: ToolCall) -> ToolResult:
        return await self.inner.call(call)


class ValidatedToolset(WrapperToolset):
    """Lets only calls through that name a tool of the set and whose arguments fit its schema.

    What does not fit is refused, with a reason that tells the model how to do better. Blank arguments count
    as ``{}``, because several models write none for no arguments.
    """

    def __init__(self, inner: Toolset) -> None:
        super().__init__(inner)
        self._schemas = tuple(inner.schemas())
        self._validators: dict[str, Any] = {
            schema.name: jsonschema_rs.validator_for(dict(schema.parameters), offline=True)
            for schema in self._schemas
        }

    def schemas(self) -> Sequence[ToolSchema]:
        return self._schemas

    async def judge(self, call: ToolCall) -> Verdict:
        validator = self._validators.get(call.name)
        if validator is None:
            known = ", ".join(sorted(self._validators)) or "none"
            return Verdict(Action.REFUSE, call, f"There is no tool named {call.name!r}. Tools: {known}.")
        written = call.arguments.strip() or "{}"
        try:
            arguments = orjson.loads(written)
        except orjson.JSONDecodeError as error:
            return Verdict(Action.REFUSE, call, f"The arguments are not valid JSON: {error}.")
        if reasons := _reasons(validator, arguments):
            return Verdict(Action.REFUSE, call, "The arguments do not fit: " + "; ".join(reasons) + ".")
        return await self.inner.judge(ToolCall(call.id, call.name, written, call.native))


def _reasons(validator: Any, arguments: Any) -> list[str]:
    errors = validator.iter_errors(arguments)
    return [_reason(error) for _, error in zip(range(_MAX_REASONS), errors, strict=False)]


def _reason(error: Any) -> str:
    path = "/".join(str(part) for part in error.instance_path)
    return f"{path or 'arguments'}: {error.message}"
