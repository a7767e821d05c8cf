"""What an MCP server wrote, made fit to be shown: bounded, and without characters that nobody sees."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from apps.tools.tool import NAME

MOST_DESCRIPTION = 1024
SEPARATOR = "__"
_LONGEST_NAME = 64
_DIGEST = 8
# The specification's "Tool Names" (2025-11-25): what it says that a name should be.
_TAKEN = re.compile(r"[A-Za-z0-9_.\-/]{1,128}")
_ELSEWHERE = re.compile(r"[^A-Za-z0-9_-]")
# Controls, format characters (bidirectional overrides, tags, zero width), halves of pairs, private use.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_KEPT = frozenset("\n\t")


def plain(text: str) -> str:
    """Without what is not seen; line breaks and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    return "".join(each for each in text if each in _KEPT or unicodedata.category(each) not in _UNSEEN)


def bounded(text: str, most: int = MOST_DESCRIPTION) -> str:
    """``plain``, and of what is too long the beginning and “…”."""
    # Before it is cleaned: nobody pays for cleaning what is cut off.
    text = plain(text[: most * 4]).strip()
    return text if len(text) <= most else text[: most - 1] + "…"


def is_taken(raw: str) -> bool:
    """Whether a server may give its tool this name: no look-alikes, no line breaks, no disguise."""
    return _TAKEN.fullmatch(raw) is not None


def fitted(slug: str, raw: str) -> str:
    """``<slug>__<tool>``, with a digest of the tool's own name where that does not fit as it is."""
    name = f"{slug}{SEPARATOR}{raw}"
    if NAME.fullmatch(name):
        return name
    mark = "_" + hashlib.sha256(raw.encode()).hexdigest()[:_DIGEST]
    return _ELSEWHERE.sub("_", name)[: _LONGEST_NAME - len(mark)] + mark
