"""Small toolsets that the others are composed from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
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


class ArgumentsSchema:
    """What the arguments of a tool must fit: JSON Schema, draft 2020-12 unless it says otherwise. Nothing is
    fetched for it.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._validator = jsonschema_rs.validator_for(dict(parameters), offline=True)

    def fault(self, written: str) -> str:
        """Why *written* is not JSON that fits, as a sentence for a model; empty where it is."""
        try:
            arguments = orjson.loads(written)
        except orjson.JSONDecodeError as error:
            return f"The arguments are not valid JSON: {error}."
        errors = itertools.islice(self._validator.iter_errors(arguments), _MAX_REASONS)
        reasons = "; ".join(_reason(error) for error in errors)
        return f"The arguments do not fit: {reasons}." if reasons else ""


class ValidatedToolset(WrapperToolset):
    """Lets only calls through that name a tool of the set and whose arguments fit its schema.

    What does not fit is refused, with a reason that tells the model how to do better. Blank arguments count
    as ``{}``, because several models write none for no arguments.
    """

    def __init__(self, inner: Toolset) -> None:
        super().__init__(inner)
        self._schemas = tuple(inner.schemas())
        self._arguments = {schema.name: ArgumentsSchema(schema.parameters) for schema in self._schemas}

    def schemas(self) -> Sequence[ToolSchema]:
        return self._schemas

    async def judge(self, call: ToolCall) -> Verdict:
        schema = self._arguments.get(call.name)
        if schema is None:
            known = ", ".join(sorted(self._arguments)) or "none"
            return Verdict(Action.REFUSE, call, f"There is no tool named {call.name!r}. Tools: {known}.")
        written = call.arguments.strip() or "{}"
        if fault := schema.fault(written):
            return Verdict(Action.REFUSE, call, fault)
        return await self.inner.judge(ToolCall(call.id, call.name, written, call.native))


def _reason(error: Any) -> str:
    path = "/".join(str(part) for part in error.instance_path)
    return f"{path or 'arguments'}: {error.message}"
