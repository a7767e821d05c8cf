"""What a model without tools is told about them: the schema of its reply, and the words that go with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from somaagent.agent.ports import ToolSchema

_LOCAL = ("#/$defs/", "#/definitions/")
_ANSWER = '{"answer": "what you say to the user"}'
_CALL = '{"name": "the tool", "arguments": {…}}'


def chosen_tools(
    tools: Sequence[ToolSchema], choice: str | Mapping[str, Any] | None
) -> tuple[list[ToolSchema], bool]:
    """The tools that the model may call, and whether it may answer instead. ``choice`` has OpenAI's shape."""
    if choice == "none":
        return [], True
    if isinstance(choice, Mapping):
        wanted = choice["function"]["name"]
        return [tool for tool in tools if tool.name == wanted], False
    return list(tools), choice != "required"


def format_of(tools: Sequence[ToolSchema], *, may_answer: bool) -> dict[str, Any]:
    """The ``response_format`` that lets through an answer or one call, each whole. Properties come in the
    order in which they stand here: the name tells which it is before the rest is written.
    """
    definitions: dict[str, Any] = {}
    branches = [_object(answer={"type": "string"})] if may_answer else []
    for tool in tools:
        arguments = _hoisted(dict(tool.parameters), tool.name, definitions)
        branches.append(_object(name={"const": tool.name}, arguments=arguments))
    schema: dict[str, Any] = {"anyOf": branches}
    if definitions:
        schema["$defs"] = definitions
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": True}}


def instructions_for(tools: Sequence[ToolSchema], *, may_answer: bool) -> str:
    either = f"either {_ANSWER} or, to call a tool, {_CALL}" if may_answer else _CALL
    lines = [f"Reply with one JSON object and nothing else: {either}.", "The tools:"]
    lines += [
        f"- {tool.name}: {tool.description} Arguments: {orjson.dumps(dict(tool.parameters)).decode()}"
        for tool in tools
    ]
    return "\n".join(lines)


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _hoisted(schema: dict[str, Any], owner: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema as part of a larger one: its definitions move to the root, under names of their own."""
    for place in ("$defs", "definitions"):
        for name, definition in schema.pop(place, {}).items():
            definitions[f"{owner}.{name}"] = _pointing(definition, owner)
    moved: dict[str, Any] = _pointing(schema, owner)
    return moved


def _pointing(value: Any, owner: str) -> Any:
    if isinstance(value, list):
        return [_pointing(each, owner) for each in value]
    if not isinstance(value, dict):
        return value
    moved = {name: _pointing(each, owner) for name, each in value.items()}
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith(_LOCAL):
        moved["$ref"] = f"#/$defs/{owner}.{reference.split('/', 2)[2]}"
    return moved
