"""How the scripted model server embeds texts: a vector of a text's own, the same each time.

The text may ask for something else: ``wrong: order``, one vector ``short``, ``long`` vectors, ``uneven``
ones, ``letters`` instead of numbers, or ``list``, a server that knows no base64.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any

DIMENSIONS = 8


def vector(text: Any, dimensions: int = DIMENSIONS) -> list[float]:
    """Numbers between -1 and 1 that 32 bits hold exactly."""
    digest = hashlib.sha256(repr(text).encode()).digest()
    return [(digest[place % 32] - 128) / 128 for place in range(dimensions)]


def answer(body: dict[str, Any], told: str) -> dict[str, Any]:
    given = body["input"] if isinstance(body["input"], list) else [body["input"]]
    length = DIMENSIONS + 1 if told == "wrong: long" else body.get("dimensions") or DIMENSIONS
    vectors: list[Any] = [vector(one, length) for one in given]
    if told == "wrong: uneven":
        vectors[-1] = vectors[-1][1:]
    if body.get("encoding_format") == "base64" and told != "wrong: list":
        vectors = [base64.b64encode(struct.pack(f"<{len(one)}f", *one)).decode() for one in vectors]
    if told == "wrong: letters":
        vectors[0] = "abc"
    data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(vectors)]
    if told == "wrong: order":
        data.reverse()
    if told == "wrong: short":
        data.pop()
    words = sum(len(one.split()) if isinstance(one, str) else len(one) for one in given)
    usage = {"prompt_tokens": words, "total_tokens": words}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}
