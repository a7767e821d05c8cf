"""What the first start creates for its operator, caught on its way out so that no log ever has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Credentials:
    """The operator's name, and the secrets that are shown once; None when an earlier start has shown them."""

    operator: str
    password: str | None = None
    api_key: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.operator!r})"


class Seeding:
    """Takes the result of ``manage.py seed --json`` out of its output. ``done`` is called on success."""

    def __init__(self, done: Callable[[], None]) -> None:
        self.credentials: Credentials | None = None
        self._done = done

    def take(self, line: str) -> bool:
        """True when the line is the result, which then goes no further."""
        if not line.startswith("{"):
            return False
        try:
            facts = json.loads(line)
        except ValueError:
            return "api_key" in line  # a torn line of ours is not for the log either
        if not isinstance(facts, dict) or "operator" not in facts or "api_key" not in facts:
            return False
        self.credentials = Credentials(facts["operator"], facts["password"], facts["api_key"])
        return True

    def finished(self) -> None:
        if self.credentials is None:
            raise RuntimeError("The seed command ended without saying what it did.")
        self._done()
