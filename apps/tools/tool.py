"""What a tool is: how a model sees it, what may be expected of a call, and what runs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

from somaagent.errors import Kind, SomaError

# What every protocol takes as a function's name (OpenAI's, Anthropic's, MCP's).
NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,63}")
BUILT_IN = "built_in"


class Risk(StrEnum):
    """What a call can do at worst: read what its user sees, reach out or use up, change something outside."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Label(StrEnum):
    """What kind of data a tool's results bring into a turn.

    ``private``: its user's or organisation's own. ``untrusted``: written by somebody outside, who may want
    something of the model.
    """

    PRIVATE = "private"
    UNTRUSTED = "untrusted"


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a tool runs. All of it comes from a credential or a stored turn, never from a model.

    ``agent`` is its slug. In a chat completion ``session_id`` and ``turn_id`` are None; where a client of MCP
    calls the tool itself, ``agent`` is too.
    """

    tenant_id: UUID
    user_id: UUID
    role: str
    agent: str | None = None
    session_id: UUID | None = None
    turn_id: UUID | None = None


Arguments: TypeAlias = Mapping[str, Any]
Run: TypeAlias = Callable[[Caller, Arguments], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of the catalogue, or of an MCP server.

    ``parameters`` is the JSON Schema of its arguments, an object; ``run`` gets arguments that fit it and
    gives text for the model. It raises ``SomaError`` for a failure that the model may be told.

    ``idempotent``: running a call again does no harm, so that one which was cut short may be. ``seconds``: a
    call that takes longer is stopped. ``most_characters``: of a longer result the rest is cut off, which it
    says. ``calls_a_minute``: of one tenant, over all processes. ``breaker_failures``: after so many calls in
    a row that failed for reasons of the tool's own, it is left alone for a while; 0: it never is.
    ``source``: ``built_in``, or ``mcp:`` and the server's slug.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Run
    idempotent: bool
    needs_approval: bool
    risk: Risk
    labels: frozenset[Label] = field(default_factory=frozenset)
    seconds: float = 30.0
    most_characters: int = 20_000
    calls_a_minute: int = 600
    breaker_failures: int = 0
    source: str = BUILT_IN

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name for a tool: {NAME.pattern}")


class TooSlow(SomaError):  # noqa: N818 - named for what happened
    """A call was stopped at its tool's time-out."""

    def __init__(self, seconds: float) -> None:
        super().__init__(Kind.UPSTREAM, "tool_timeout", f"It took longer than {seconds:g} seconds.")
