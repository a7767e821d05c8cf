"""Embeddings of any server that speaks OpenAI's protocol: ``POST {base}/embeddings``.

https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import sys
from array import array
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import aiohttp
import orjson

from somaagent.agent import failures, tokens
from somaagent.agent.failures import ModelError
from somaagent.agent.messages import Usage
from somaagent.agent.models.adapter import OK, Server
from somaagent.agent.models.connection import Connection
from somaagent.agent.models.refusals import told_error
from somaagent.agent.models.retrying import RetryPolicy
from somaagent.agent.ports import EmbeddingInputs, EmbeddingModel, Embeddings

# 2048 vectors of 3072 numbers, and some room.
_MOST_BYTES = 64 * 1024 * 1024


class OpenAIEmbeddings(Server):
    """An ``EmbeddingModel``. ``base_url`` ends where ``/embeddings`` follows, mostly in ``/v1``.

    The time-out to the first token is the one for the whole answer.
    """

    def _path(self, base: str) -> str:
        return f"{base}/embeddings"

    def _headers_for(self, api_key: str | None) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        return headers | {"Authorization": f"Bearer {api_key}"} if api_key else headers

    async def embed(
        self, inputs: EmbeddingInputs, *, dimensions: int | None = None, exact: bool = False
    ) -> Embeddings:
        until = asyncio.get_running_loop().time() + self._timeouts.first_token
        response = await self._open(self._request(inputs, dimensions, exact=exact), until)
        try:
            if response.status != OK:
                raise await self._refusal(response)
            if response.content_type != "application/json":
                raise failures.garbled(f"its type is {response.content_type!r}")
            received = await self._received(response, until)
        finally:
            # A connection whose answer was read to its end is kept; any other is closed.
            response.release()
        return self._read(received, len(inputs))

    async def _received(self, response: aiohttp.ClientResponse, until: float) -> bytes:
        try:
            with closing(Connection(response, max_bytes=_MOST_BYTES)) as connection:
                return await connection.receive_all(until)
        except ModelError as error:
            raise self._late() if error.code == "model_timeout" else error from None

    def _request(self, inputs: EmbeddingInputs, dimensions: int | None, *, exact: bool) -> bytes:
        body: dict[str, Any] = {
            "model": self._model,
            "input": inputs,
            "encoding_format": "float" if exact else "base64",
        }
        if dimensions is not None:
            body["dimensions"] = dimensions
        return orjson.dumps(body)

    def _read(self, received: bytes, expected: int) -> Embeddings:
        try:
            answer = orjson.loads(received)
        except orjson.JSONDecodeError:
            raise failures.garbled("it is not JSON") from None
        if not isinstance(answer, dict):
            raise failures.garbled("it is not a JSON object")
        if answer.get("error"):
            raise told_error(answer["error"], self._key)
        try:
            return Embeddings(_vectors(answer, expected), _usage(answer))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            raise failures.garbled("its JSON does not have the shape of embeddings") from None


class RetryingEmbeddings:
    """An ``EmbeddingModel`` that sends the same request again when its server is busy, failing or away."""

    def __init__(
        self, model: EmbeddingModel, policy: RetryPolicy, *, on_retry: Callable[[ModelError, float], None]
    ) -> None:
        self._model = model
        self._policy = policy
        self._on_retry = on_retry

    async def embed(
        self, inputs: EmbeddingInputs, *, dimensions: int | None = None, exact: bool = False
    ) -> Embeddings:
        retry = 0
        while True:
            try:
                return await self._model.embed(inputs, dimensions=dimensions, exact=exact)
            except ModelError as error:
                retry += 1
                wait = self._policy.wait(retry, error.retry_after) if error.ask_again else None
                if wait is None:
                    raise
                self._on_retry(error, wait)
            await asyncio.sleep(wait)


def _vectors(answer: Mapping[str, Any], expected: int) -> list[array[float]]:
    """Each in the place that its ``index`` says: servers may answer in another order."""
    placed = {item["index"]: _vector(item["embedding"]) for item in answer["data"]}
    vectors = [placed[index] for index in range(expected)]
    if len(placed) != expected or len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
        raise ValueError("vectors are missing, too many, or of different lengths")
    return vectors


def _vector(value: Any) -> array[float]:
    """A list of numbers, or base64 of 32-bit floats, the lowest byte first."""
    if isinstance(value, str):
        vector = array("f")
        try:
            vector.frombytes(base64.b64decode(value, validate=True))
        except binascii.Error as error:
            raise ValueError("no base64") from error
        if sys.byteorder == "big":
            vector.byteswap()
    else:
        vector = array("d", value)
    # One number that is none makes the sum none.
    if not math.isfinite(sum(vector)):
        raise ValueError("numbers that are none")
    return vector


def _usage(answer: Mapping[str, Any]) -> Usage:
    """Local servers may count nothing."""
    told = answer.get("usage") or {}
    return Usage(input_tokens=tokens.told(told.get("prompt_tokens") or told.get("total_tokens")))
