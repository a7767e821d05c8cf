"""The catalogue for readers: as Markdown, and as one JSON Schema of the messages that are published."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .catalogue import CATALOGUE, Used

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/{model}"
_HEAD = """# Domain events

Written by `manage.py event_catalogue`; as JSON Schema: [events.schema.json](events.schema.json), by
`manage.py event_catalogue --schema`. How they are published: [operations](operations.md#domain-events).

A message is a CloudEvent 1.0 in JSON: `id`, `source` (`urn:somaagent`), `type`, `subject`, `time`,
`partitionkey` (the organisation), `sequence` (counts its events from 1, as text), `data`. Fields are added in
later versions, and new types: pass over what you do not know. A decimal is a text. No event holds what users
or models said, nor secrets.
"""


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a message, of whichever type."""
    refs, found = models_json_schema(
        [(model, "serialization") for model in CATALOGUE.values()], ref_template=_REF
    )
    return {
        "$schema": DIALECT,
        "title": "A domain event of SomaAgent, as a CloudEvent 1.0 in JSON",
        "type": "object",
        "required": [
            "specversion",
            "id",
            "source",
            "type",
            "subject",
            "time",
            "partitionkey",
            "sequence",
            "data",
        ],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "format": "uuid"},
            "source": {"const": "urn:somaagent"},
            "subject": {"type": "string"},
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"const": "application/json"},
            "partitionkey": {"type": "string", "format": "uuid"},
            "sequence": {"type": "string", "pattern": "^[1-9][0-9]*$"},
        },
        "oneOf": [
            {"properties": {"type": {"const": name}, "data": refs[model, "serialization"]}}
            for name, model in CATALOGUE.items()
        ],
        "$defs": found["$defs"],
    }


def markdown() -> str:
    parts = [_HEAD]
    for name, model in CATALOGUE.items():
        parts.append(f"## `{name}`\n\n{_words(model.__doc__)}\n\n{_table(model)}")
    parts.append(f"### `usage` of a turn\n\n{_words(Used.__doc__)}\n\n{_table(Used)}")
    return "\n".join(parts)


def _words(text: str | None) -> str:
    return " ".join((text or "").split())


def _table(model: type[BaseModel]) -> str:
    facts = model.model_json_schema(mode="serialization")
    rows = [
        f"| `{name}` | {_takes(field)} | {field.get('description', '')} |"
        for name, field in facts["properties"].items()
    ]
    return "\n".join(["| field | what it holds | notes |", "|---|---|---|", *rows]) + "\n"


def _takes(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_takes(one) for one in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" if value else "empty" for value in field["enum"])
    if "$ref" in field:
        return "an object, below"
    if "pattern" in field:
        return "a decimal, as text" if re.match(field["pattern"], "0.5") else "text"
    said = {"uuid": "an id", "date-time": "a moment, ISO 8601"}.get(field.get("format", ""))
    kinds = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "null": "null"}
    return said or kinds.get(field["type"], "text")
