"""Why a policy gave no answer that could be used. Every such failure ends in a denial."""

from __future__ import annotations

from enum import StrEnum


class Failure(StrEnum):
    """What went wrong, for metrics and logs."""

    INPUT = "input"
    POLICY = "policy"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    CRASHED = "crashed"
    UNDEFINED = "undefined"
    UNINTELLIGIBLE = "unintelligible"


class PolicyError(Exception):
    """No usable answer. ``reason`` is a sentence for whoever made the call; the text of the error is for the
    operator, and has ``detail`` too.
    """

    def __init__(self, failure: Failure, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} {detail}" if detail else reason)
        self.failure = failure
        self.reason = reason
