"""How far a run may go, and the errors that say that it went too far."""

from __future__ import annotations

from dataclasses import dataclass

from somaagent.errors import Kind, SomaError


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_steps`` model calls, ``max_output_chars`` written by the model over the whole run (text,
    reasoning and tool arguments), ``seconds`` from the first step to the last (``None``: no limit)."""

    max_steps: int = 20
    max_output_chars: int = 400_000
    seconds: float | None = 600.0


def too_many_steps(limit: int) -> SomaError:
    return SomaError(
        Kind.TOO_LARGE,
        "step_limit",
        f"The agent came to no answer in {limit} steps. Ask for less at once, or raise its step limit.",
    )


def too_much_output(limit: int) -> SomaError:
    return SomaError(
        Kind.TOO_LARGE,
        "output_limit",
        f"The model wrote more than the {limit} characters that a turn may hold. Ask for a shorter answer.",
    )


def took_too_long(seconds: float) -> SomaError:
    return SomaError(
        Kind.UPSTREAM,
        "turn_timeout",
        f"The turn did not finish within {seconds:g} seconds. Try again, or ask for less at once.",
    )
