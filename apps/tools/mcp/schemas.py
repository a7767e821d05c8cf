"""The schemas of an MCP server's tools, made safe to hold arguments to.

A server may lie: its schema may be none, may point elsewhere, may take for ever to check. What is refused
costs that tool. What cannot be checked safely here is taken out, and left to the server, which checks again:
patterns that no linear-time engine knows, and references of a schema to itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import orjson

from .texts import bounded

MOST_BYTES = 32_768
MOST_NODES = 2_000
MOST_DEPTH = 24
_PATTERN_BYTES = 262_144
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES)
_ANNOTATIONS = frozenset({"description", "title", "default", "examples", "deprecated"})
_MOVED = frozenset({"$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "$recursiveAnchor"})
_DROPPED = frozenset({"$defs", "definitions", "$schema", "$comment", "$vocabulary", "examples"})
_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_SCHEMAS = frozenset(
    {
        "additionalProperties", "propertyNames", "items", "prefixItems", "contains", "unevaluatedItems",
        "unevaluatedProperties", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "additionalItems",
    }
)  # fmt: skip


class UnfitError(ValueError):
    """Why a schema is not taken, as the end of a sentence."""


def safe(schema: Any) -> tuple[dict[str, Any], list[str]]:
    """The schema with its references written out, and what was taken out of it. Raises ``UnfitError``."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise UnfitError("its schema is not one of an object")
    try:
        size = len(orjson.dumps(schema))
    except (TypeError, orjson.JSONEncodeError) as error:
        raise UnfitError("its schema is too deep, or no JSON") from error
    if size > MOST_BYTES:
        raise UnfitError(f"its schema has more than {MOST_BYTES} bytes")
    walk = _Walk(schema)
    written = walk.node(schema, (), 0)
    if not isinstance(written, dict) or written.get("type") != "object":
        raise UnfitError("its schema is not one of an object")
    try:
        jsonschema_rs.meta.validate(written)
        jsonschema_rs.validator_for(written, offline=True, pattern_options=_PATTERNS)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise UnfitError("its schema is no JSON Schema") from error
    return written, sorted(walk.taken_out)


class _Walk:
    """Writes a schema out. The number of its nodes bounds what a check can cost."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._left = MOST_NODES
        self.taken_out: set[str] = set()

    def node(self, schema: Any, within: tuple[str, ...], depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > MOST_DEPTH:
            raise UnfitError("its schema is too large when it is written out")
        if not isinstance(schema, dict):
            return schema  # true, false, or wrong, which the check at the end says
        if moved := _MOVED & schema.keys():
            raise UnfitError(f"its schema uses {min(moved)}")
        written = dict(self._keywords(schema, within, depth))
        if "$ref" not in schema:
            return written
        target = self._referred(schema["$ref"], within, depth)
        if not isinstance(target, dict) or written.keys() <= _ANNOTATIONS:
            return {**target, **written} if isinstance(target, dict) else target
        return {**written, "allOf": [target, *written.get("allOf", [])]}

    def _keywords(
        self, schema: dict[str, Any], within: tuple[str, ...], depth: int
    ) -> Iterator[tuple[str, Any]]:
        for name, value in schema.items():
            if name in _DROPPED or name == "$ref":
                continue
            if name in _MAPS and isinstance(value, dict):
                kept = {key: each for key, each in value.items() if self._is_kept(name, key)}
                yield name, {key: self.node(each, within, depth + 1) for key, each in kept.items()}
            elif name in _SCHEMAS:
                yield name, self._one_or_many(value, within, depth)
            elif name == "pattern":
                if self._is_kept("patternProperties", value):
                    yield name, value
            elif name in ("description", "title") and isinstance(value, str):
                yield name, bounded(value)
            else:
                yield name, value

    def _one_or_many(self, value: Any, within: tuple[str, ...], depth: int) -> Any:
        if isinstance(value, list):
            return [self.node(each, within, depth + 1) for each in value]
        return self.node(value, within, depth + 1)

    def _is_kept(self, keyword: str, pattern: Any) -> bool:
        if keyword != "patternProperties":
            return True
        try:
            jsonschema_rs.validator_for({"pattern": pattern}, offline=True, pattern_options=_PATTERNS)
        except (jsonschema_rs.ValidationError, ValueError):
            self.taken_out.add("a pattern that cannot be checked in linear time")
            return False
        return True

    def _referred(self, reference: Any, within: tuple[str, ...], depth: int) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise UnfitError("its schema refers to somewhere else")
        if reference in within or reference == "#":
            self.taken_out.add("a reference of the schema to itself")
            return {}
        target: Any = self._root
        for part in reference[1:].lstrip("/").split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, dict) or key not in target:
                raise UnfitError("its schema refers to what is not in it")
            target = target[key]
        return self.node(target, (*within, reference), depth + 1)
