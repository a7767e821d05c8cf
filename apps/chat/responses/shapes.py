"""The response object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from somaagent.agent.messages import Usage

from .output import Output

# What their clients call why a response failed, by our codes; all others are the server's fault.
FAILURES = {"model_rate_limited": "rate_limit_exceeded", "model_refused_request": "invalid_prompt"}


@dataclass(frozen=True, slots=True)
class Failure:
    code: str
    message: str

    def shown(self) -> dict[str, str]:
        return {"code": FAILURES.get(self.code, "server_error"), "message": self.message}


@dataclass(frozen=True, slots=True)
class Frame:
    """What stays the same of a response from beginning to end. ``created_at`` in seconds since 1970."""

    id: str
    created_at: int
    shown: Mapping[str, Any]

    def response(self, status: str, output: Output | None = None) -> dict[str, Any]:
        """The object while the answer is being written: without usage, error or reason."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "output": output.all_items() if output else [],
            "usage": None,
            **self.shown,
        }

    def ended(
        self, status: str, output: Output, usage: Usage, failure: Failure | None = None
    ) -> dict[str, Any]:
        """The object of an answer that is over. ``status``: ``completed``, ``failed`` or ``cancelled``."""
        reason = output.cut_short if status == "completed" else None
        return self.response("incomplete" if reason else status, output) | {
            "error": failure.shown() if failure else None,
            "incomplete_details": {"reason": reason} if reason else None,
            "usage": usage_of(usage),
        }


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        # Nothing asks models' servers to write caches, so no tokens are billed for it.
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
