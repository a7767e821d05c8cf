"""MCP servers that run as programs on this machine: declared by the operator alone, here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema_rs

from settings.declared import declared
from settings.kinds import Kind


@dataclass(frozen=True, slots=True)
class StdioServer:
    """One program. ``secrets`` are variables of its environment, by the names under which Vault keeps them.

    ``tenants`` are slugs; empty: all of them. ``cwd``: None is a folder of its own in the data directory.
    """

    slug: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    tenants: tuple[str, ...] = ()
    needs_approval: bool = True
    risk: str = "medium"
    trusts_annotations: bool = False
    call_seconds: float = 30.0
    most_tools: int = 64

    def __str__(self) -> str:
        return self.slug


_NAMED = {"type": "object", "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,99}$"}}
_WORD = {"type": "string", "maxLength": 10_000, "pattern": "^[^\\x00]*$"}
_SCHEMA = {
    "type": "object",
    "propertyNames": {"pattern": "^[a-z][a-z0-9-]{0,31}$"},
    "additionalProperties": {
        "type": "object",
        "required": ["command"],
        "additionalProperties": False,
        "properties": {
            "command": {"type": "array", "items": _WORD, "minItems": 1, "maxItems": 200},
            "env": {**_NAMED, "additionalProperties": _WORD},
            "secrets": {
                **_NAMED,
                "additionalProperties": {"type": "string", "pattern": "^mcp/[a-z0-9][a-z0-9-]{0,62}$"},
            },
            "cwd": {"type": "string", "pattern": "^/"},
            "tenants": {"type": "array", "items": {"type": "string"}},
            "needs_approval": {"type": "boolean"},
            "risk": {"enum": ["low", "medium", "high"]},
            "trusts_annotations": {"type": "boolean"},
            "call_seconds": {"type": "number", "minimum": 0.1, "maximum": 600},
            "most_tools": {"type": "integer", "minimum": 1, "maximum": 500},
        },
    },
}
# A value may be a secret that somebody put into "env": it is not repeated.
_VALIDATOR = jsonschema_rs.validator_for(_SCHEMA, mask="what stands there", offline=True)


def _servers(text: str) -> list[StdioServer]:
    return [_server(slug, each) for slug, each in declared(text, _VALIDATOR).items()]


def _server(slug: str, facts: dict[str, Any]) -> StdioServer:
    taken: dict[str, Any] = {
        "command": tuple(facts["command"]),
        "tenants": tuple(facts.get("tenants", [])),
    }
    if "cwd" in facts:
        taken["cwd"] = Path(facts["cwd"])
    return StdioServer(slug=slug, **(facts | taken))


STDIO_SERVERS = Kind("stdio servers", "a JSON object, or the path of a file that holds one", _servers)
