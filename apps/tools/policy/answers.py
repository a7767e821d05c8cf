"""What a policy may answer, taken literally: anything else is no answer."""

from __future__ import annotations

from typing import Any

from .failures import Failure, PolicyError
from .inputs import Effect

LONGEST_REASON = 1_000


def decision(value: Any) -> tuple[Effect, str]:
    """Effect and reason from ``{"effect": …, "reason": …}``. Raises ``PolicyError`` for another shape."""
    effect = _field(value, "effect")
    if not isinstance(effect, str) or effect not in Effect.__members__.values():
        raise _strange('its "effect" is none of allow, deny and require_approval')
    return Effect(effect), _reason(value)


def permission(value: Any) -> tuple[bool, str]:
    """Whether, and why, from ``{"allow": …, "reason": …}``. Raises ``PolicyError`` for another shape."""
    allowed = _field(value, "allow")
    if not isinstance(allowed, bool):
        raise _strange('its "allow" is neither true nor false')
    return allowed, _reason(value)


def _field(value: Any, name: str) -> Any:
    if not isinstance(value, dict) or set(value) != {name, "reason"}:
        raise _strange(f'it is not an object of "{name}" and "reason" alone')
    return value[name]


def _reason(value: dict[str, Any]) -> str:
    reason = value["reason"]
    if not isinstance(reason, str) or not reason.strip() or len(reason) > LONGEST_REASON:
        raise _strange(f'its "reason" is not a text of 1 to {LONGEST_REASON} characters')
    return reason


def _strange(what: str) -> PolicyError:
    return PolicyError(
        Failure.UNINTELLIGIBLE,
        f"The policy's answer cannot be understood: {what}. Tell your operator.",
    )
