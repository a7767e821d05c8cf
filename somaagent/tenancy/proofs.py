"""Whose a key is, asked in the same message as what its holder wants (ADR 27).

A key is mostly whose it was a moment ago. So what its holder asks for may travel together with the question
whose it is, as if it were still the same actor's; the answer counts only where that actor comes back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from somaagent.errors import Kind, SomaError

from . import selectors
from .actor import Actor

# Keys whose actors a process remembers; those that came first are forgotten first.
MOST_KNOWN = 4096
_known: dict[bytes, Actor] = {}


@dataclass(slots=True)
class Proof:
    """That an actor is still the one that a key stands for, for the transaction that answers them.

    Until it is ``held``, nothing that was read may be shown, and nothing that was written be committed.
    """

    digest: bytes
    expected: Actor
    held: bool = field(default=False, init=False)

    def statement(self) -> tuple[str, Mapping[str, Any]]:
        return selectors.BY_API_KEY, {"digest": self.digest}

    def hold(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Note what the database says, the rows of ``statement``. Raises ``credential_changed`` where that is
        not the expected actor: unknown by now, or with another role, scope or rate.
        """
        self.held = selectors.keyed(rows) == self.expected
        if not self.held:
            _known.pop(self.digest, None)
            sentence = "What this API key may do has just changed: send the request again."
            raise SomaError(Kind.UNAUTHENTICATED, "credential_changed", sentence)


def remember(key: str, actor: Actor) -> None:
    """Note whose a key was just now."""
    digest = selectors.key_digest(key)
    _known.pop(digest, None)
    if len(_known) >= MOST_KNOWN:
        del _known[next(iter(_known))]
    _known[digest] = actor


def expected(key: str) -> Actor | None:
    """Whose a key was the last time, as an actor with a proof that nobody holds yet."""
    digest = selectors.key_digest(key)
    actor = _known.get(digest)
    return None if actor is None else dataclasses.replace(actor, proof=Proof(digest, actor))
