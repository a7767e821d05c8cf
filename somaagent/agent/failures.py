"""The ways in which a model server fails, each with its code and a sentence, and which of them may pass."""

from __future__ import annotations

import math

from somaagent.errors import Kind, SomaError

_PASSING = frozenset(
    {
        "model_unreachable",
        "model_timeout",
        "model_rate_limited",
        "model_circuit_open",
        "model_failed",
        "model_garbled",
        "model_cut_off",
        "turn_timeout",
        "summary_failed",
    }
)
TOO_LONG = "context_too_long"


def is_retryable(error: SomaError) -> bool:
    """Whether the same turn may succeed when it is tried again, with nothing else changed."""
    return error.code in _PASSING or error.kind in {Kind.UNAVAILABLE, Kind.RATE_LIMITED}


class ModelError(SomaError):
    """A model call that failed.

    ``ask_again``: the same request may succeed when it is sent again within seconds. ``begun``: the model
    had begun to write, so that a request sent again would be a second answer.
    """

    def __init__(
        self, code: str, sentence: str, *, retry_after: float | None = None, ask_again: bool = False
    ) -> None:
        super().__init__(Kind.UPSTREAM, code, sentence, retry_after=retry_after)
        self.ask_again = ask_again
        self.begun = False


def failure(
    code: str, sentence: str, *, retry_after: float | None = None, ask_again: bool = False
) -> ModelError:
    return ModelError(code, sentence, retry_after=retry_after, ask_again=ask_again)


def unreachable(reason: str) -> SomaError:
    return failure(
        "model_unreachable",
        f"The model server could not be reached: {reason}. Try again in a moment.",
        ask_again=True,
    )


def not_public() -> SomaError:
    """A model that is to be at a public address is not. Which address it is would tell what is inside."""
    return failure(
        "model_not_public",
        "The address in the model profile does not lead to a public address, and this profile may go nowhere "
        "else. Who manages the organisation corrects it, or asks an operator.",
    )


def timed_out(sentence: str, *, ask_again: bool = False) -> SomaError:
    return failure("model_timeout", f"{sentence} Try again in a moment.", ask_again=ask_again)


def garbled(reason: str) -> SomaError:
    return failure(
        "model_garbled",
        f"The model server's answer could not be understood: {reason}. Check that the address in the model "
        "profile speaks the protocol that it names.",
    )


def cut_off() -> SomaError:
    return failure(
        "model_cut_off", "The model server closed the connection in mid-answer. Try again.", ask_again=True
    )


def failed(reason: str, *, retry_after: float | None = None) -> SomaError:
    return failure(
        "model_failed",
        f"The model server failed: {reason}. Try again in a moment.",
        retry_after=retry_after,
        ask_again=True,
    )


def too_long(reason: str) -> SomaError:
    """The model cannot read so much at once."""
    return failure(
        TOO_LONG,
        f"The model server says that this is too long for its model: {reason}. Write a shorter message, "
        "begin a new session, or choose an agent whose model has a larger context window.",
    )


def refused_request(reason: str) -> SomaError:
    """What was asked is at fault: a wish that this model cannot fulfil, say."""
    return failure("model_refused_request", f"The model server does not take this request: {reason}.")


def refused_key(status: int) -> SomaError:
    return failure(
        "model_refused_key",
        f"The model server refused the key (status {status}). An operator has to check the secret that the "
        "model profile names.",
    )


def not_found(model: str) -> SomaError:
    return failure(
        "model_not_found",
        f"The model server knows no model {model!r} at the profile's address. An operator has to correct "
        "the model profile.",
    )


def rate_limited(retry_after: float | None) -> SomaError:
    when = f"in {retry_after:.0f} seconds" if retry_after else "in a moment"
    return failure(
        "model_rate_limited",
        f"The model server takes no more requests now. Try again {when}.",
        retry_after=retry_after,
        ask_again=True,
    )


def over_own_rate(per_minute: int, retry_after: float | None) -> ModelError:
    """The profile's own limit. It has been waited for as long as the profile allows."""
    return failure(
        "model_rate_limited",
        f"The model profile allows {per_minute} requests a minute, and they are used up. "
        f"Try again {_when(retry_after)}.",
        retry_after=retry_after,
    )


def circuit_open(retry_after: float | None) -> ModelError:
    return failure(
        "model_circuit_open",
        "The model failed too often in a row and is left alone for a while. "
        f"Try again {_when(retry_after)}; an operator can let it be asked sooner.",
        retry_after=retry_after,
    )


def _when(retry_after: float | None) -> str:
    seconds = math.ceil(retry_after or 0)
    return f"in {seconds} second{'' if seconds == 1 else 's'}" if seconds else "in a moment"
