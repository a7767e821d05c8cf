"""The one error type of the domain. It knows nothing of HTTP; ``somaagent.problems`` translates it."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What went wrong, in the caller's terms."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    OVER_BUDGET = "over_budget"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    UPSTREAM = "upstream"


class SomaError(Exception):
    """A failure that its reader can do something about.

    ``code`` is stable and machine-readable, ``message`` a sentence that says what to do, ``field``
    the input that is at fault, ``retry_after`` seconds after which trying again may work.
    """

    def __init__(
        self,
        kind: Kind,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after

    def __repr__(self) -> str:
        return f"SomaError({self.code!r}, {self.message!r})"


def not_found(what: str) -> SomaError:
    """What is another's looks exactly like what does not exist."""
    return SomaError(Kind.NOT_FOUND, "not_found", f"There is no such {what}.")


def invalid(field: str, message: str, *, code: str = "invalid") -> SomaError:
    return SomaError(Kind.INVALID, code, message, field=field)
