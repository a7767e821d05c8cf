"""Whether this process is on its way out: it finishes what it has and takes nothing more that lasts."""

from __future__ import annotations

import threading

from somaagent.errors import Kind, SomaError

_begun = threading.Event()


def begin() -> None:
    """The server has told the application to stop."""
    _begun.set()


def is_stopping() -> bool:
    return _begun.is_set()


def refuse() -> None:
    """Raise ``stopping`` where this process stops: another one answers by then."""
    if is_stopping():
        sentence = "This server is being stopped. Try again in a moment: another one answers then."
        raise SomaError(Kind.UNAVAILABLE, "stopping", sentence, retry_after=2)
