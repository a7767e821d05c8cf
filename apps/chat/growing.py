"""An answer's HTML while it grows, at a cost that does not grow with it.

Markdown is made of top-level blocks, and what follows can change the last two at most (a list goes on after a
blank line and half an item). Blocks before those are settled: rendered once, sent once, forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .rendering import blocks

UNSETTLED_BLOCKS = 2


@dataclass(frozen=True, slots=True)
class Change:
    """The answer's blocks from number ``start`` (from 0) on are now these."""

    start: int
    html: list[str]


class GrowingAnswer:
    """Takes the text piece by piece; gives the blocks that changed."""

    def __init__(self) -> None:
        self._settled = 0
        self._tail = ""
        self._references: dict[str, Any] = {}

    @property
    def unsettled(self) -> int:
        """How many characters the next ``change`` renders."""
        return len(self._tail)

    def add(self, text: str) -> None:
        self._tail += text.replace("\r", "")

    def change(self) -> Change:
        """What stands at the end now, from the first block that was not settled before."""
        parsed = blocks(self._tail, self._references)
        change = Change(self._settled, [html for _, html in parsed])
        settled = parsed[:-UNSETTLED_BLOCKS]
        if settled:
            self._settled += len(settled)
            self._tail = "\n".join(self._tail.split("\n")[settled[-1][0] :])
        return change
