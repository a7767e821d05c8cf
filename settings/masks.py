"""The secrets that a process has seen, taken out of what it shows."""

from __future__ import annotations

import html
import threading
from collections import OrderedDict
from collections.abc import Iterable

from settings.secret import MASK, Secret

MOST_PASSING = 128
SHORTEST_PASSING = 8
"""Shorter ones of tenants are not masked: one who chose “e” for a key would blot every log out."""


class Masks:
    """Our own secrets, for the life of the process, and of tenants' those that were opened last."""

    def __init__(self) -> None:
        self._ours: set[str] = set()
        self._passing: OrderedDict[str, None] = OrderedDict()
        self._forms: tuple[Secret, ...] = ()
        self._lock = threading.Lock()

    def masked(self, text: str) -> str:
        """*text* with every known secret replaced, as itself, escaped or quoted."""
        for form in self._forms:
            text = text.replace(form.reveal(), MASK)
        return text

    def add(self, secrets: Iterable[Secret]) -> None:
        """Masks *secrets* from now on."""
        with self._lock:
            self._ours |= {secret.reveal() for secret in secrets}
            self._shape()

    def add_passing(self, secret: Secret) -> None:
        """Masks a tenant's secret until ``MOST_PASSING`` others have come after it."""
        text = secret.reveal()
        with self._lock:
            if text in self._passing:
                self._passing.move_to_end(text)
                return
            if len(text) < SHORTEST_PASSING:
                return
            self._passing[text] = None
            if len(self._passing) > MOST_PASSING:
                self._passing.popitem(last=False)
            self._shape()

    def fresh_process(self) -> None:
        """After a fork: a lock that another thread of the parent held would stay held."""
        self._lock = threading.Lock()

    def _shape(self) -> None:
        """The longest come first, so that none hides only a part of another."""
        forms: set[str] = set()
        for value in filter(None, (*self._ours, *self._passing)):
            forms |= {value, html.escape(value), repr(value)[1:-1]}
        self._forms = tuple(map(Secret, sorted(forms, key=len, reverse=True)))
