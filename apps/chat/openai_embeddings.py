"""The body of ``POST /v1/embeddings``, what it asks for in our words, and the shape of its answer."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from django.http import HttpResponse
from pydantic import BeforeValidator, Field

from somaagent.agent.ports import EmbeddingInputs, Embeddings
from somaagent.web.bodies import Body

from .embeddings import Wanted

# As many as OpenAI takes at once.
MOST_INPUTS = 2048
LARGEST_TOKEN = 2**31


def _batch(given: Any) -> EmbeddingInputs:
    """One text or many, one list of tokens or many: always as many."""
    if isinstance(given, str) or (isinstance(given, list) and given and _is_tokens(given)):
        given = [given]
    if not isinstance(given, list) or not given:
        raise ValueError("is a text, a list of texts, a list of tokens, or a list of such lists")
    if len(given) > MOST_INPUTS:
        raise ValueError(f"has {len(given)} inputs; at most {MOST_INPUTS} are taken at once")
    if not (all(isinstance(one, str) for one in given) or all(map(_is_tokens, given))):
        raise ValueError("holds texts, or lists of tokens, and not both")
    if not all(given):
        raise ValueError("holds an input that is empty")
    return given


def _is_tokens(given: Any) -> bool:
    return isinstance(given, list) and all(type(one) is int and 0 <= one < LARGEST_TOKEN for one in given)


class EmbeddingIn(Body):
    model: Annotated[str, Field(description="The slug of a model profile that gives embeddings.")]
    input: Annotated[Any, BeforeValidator(_batch)]
    dimensions: Annotated[int | None, Field(ge=1, le=65_536)] = None
    encoding_format: Literal["float", "base64"] | None = None
    # Without effect on the answer.
    user: Any = None

    @property
    def exact(self) -> bool:
        return self.encoding_format != "base64"

    def told(self) -> Wanted:
        return Wanted(self.model, self.input, self.dimensions, self.exact)


def answer_of(given: Embeddings, asked: EmbeddingIn) -> HttpResponse:
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(_written(given.vectors, exact=asked.exact))
    ]
    tokens = given.usage.input_tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"object": "list", "data": data, "model": asked.model, "usage": usage}
    return HttpResponse(orjson.dumps(body), content_type="application/json")


def _written(vectors: Sequence[array[float]], *, exact: bool) -> list[Any]:
    """As numbers, or as base64 of 32-bit floats, the lowest byte first."""
    if exact:
        return [vector.tolist() for vector in vectors]
    narrow = [array("f", vector) for vector in vectors]
    if sys.byteorder == "big":
        for vector in narrow:
            vector.byteswap()
    return [base64.b64encode(vector.tobytes()).decode() for vector in narrow]
