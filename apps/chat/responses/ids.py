"""Names of responses, conversations and their items, made of our own ids: nothing is stored for them."""

from __future__ import annotations

import re
from uuid import UUID

from somaagent.errors import Kind, SomaError

RESPONSE = "resp"
CONVERSATION = "conv"
_NAME = re.compile(r"(resp|conv)_([0-9a-f]{32})")


def name_of(kind: str, entity_id: UUID) -> str:
    """``resp_<turn>`` or ``conv_<session>``."""
    return f"{kind}_{entity_id.hex}"


def id_of(kind: str, name: str, *, field: str | None = None) -> UUID:
    """The id in a name. Raises as for one that does not exist: it cannot be the name of anything here."""
    found = _NAME.fullmatch(name)
    if found is None or found[1] != kind:
        raise missing(kind, name, field=field)
    return UUID(found[2])


def missing(kind: str, name: str, *, field: str | None = None) -> SomaError:
    """What is another's, was deleted or was never stored looks like what never was."""
    what = "response" if kind == RESPONSE else "conversation"
    code = "previous_response_not_found" if field and kind == RESPONSE else f"{what}_not_found"
    return SomaError(Kind.NOT_FOUND, code, f"There is no {what} {name[:80]!r} here.", field=field)


def output_id(turn_id: str, step: int, call: int | None = None) -> str:
    """The message that a step said, or one of the calls that it asks for."""
    return f"msg_{turn_id}_{step}" if call is None else f"fc_{turn_id}_{step}_{call}"


def input_id(turn_id: str, number: int, kind: str) -> str:
    """The item of that number in the input of a response."""
    prefix = {"message": "msg", "function_call": "fc"}.get(kind, "fco")
    return f"{prefix}_{turn_id}_in{number}"
