"""How far a run may go, and the errors that say that it went too far."""

from __future__ import annotations

from dataclasses import dataclass

from somaagent.agent.failures import TOO_LONG
from somaagent.errors import Kind, SomaError


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_steps`` model calls, ``max_output_chars`` written by the model over the whole run (text,
    reasoning and tool arguments), ``seconds`` from the first step to the last (``None``: no limit);
    ``max_calls`` of tools in a step, ``max_failed_steps`` in a row in which no call came to a result."""

    max_steps: int = 20
    max_output_chars: int = 400_000
    seconds: float | None = 600.0
    max_calls: int = 16
    max_failed_steps: int = 5


def too_many_steps(limit: int) -> SomaError:
    return SomaError(
        Kind.TOO_LARGE,
        "step_limit",
        f"The agent came to no answer in {limit} steps. Ask for less at once, or raise its step limit.",
    )


def too_many_failures(limit: int) -> SomaError:
    return SomaError(
        Kind.UPSTREAM,
        "tool_failures",
        f"In {limit} steps after another no call of a tool came to a result, and the agent kept trying. The "
        "calls say why; ask for something else, or have an operator look at the agent's tools.",
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


def context_too_long(tokens: int, room: int) -> SomaError:
    return SomaError(
        Kind.TOO_LARGE,
        TOO_LONG,
        f"The newest message needs about {tokens} tokens with the agent's instructions and tools, and the "
        f"model has room for {max(room, 0)}. Write a shorter message, or choose an agent whose model has a "
        "larger context window.",
    )


def summary_too_long(room: int) -> SomaError:
    return _summary_failed(
        f"a summary does not fit into the model's room of {max(room, 0)} tokens. Begin a new session, or "
        "choose an agent whose model has a larger context window"
    )


def summary_empty() -> SomaError:
    return _summary_failed("the model wrote none. Try again, or choose an agent with another model")


def summary_cut_off() -> SomaError:
    return _summary_failed(
        "the model did not come to its end. Try again; if it happens again, an operator has to raise the "
        "number of tokens that the model profile lets it write"
    )


def _summary_failed(reason: str) -> SomaError:
    sentence = f"The older messages, which no longer fit, could not be summarised: {reason}."
    return SomaError(Kind.UPSTREAM, "summary_failed", sentence)
