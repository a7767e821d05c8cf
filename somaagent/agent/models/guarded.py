"""A model behind a guard: a circuit breaker, a rate limit, or whatever lets requests through or not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TypeAlias

from somaagent.agent.messages import ModelMessage
from somaagent.agent.ports import (
    ChatModel,
    EmbeddingInputs,
    EmbeddingModel,
    Embeddings,
    ModelChunk,
    ModelSettings,
    ToolSchema,
)

Guard: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]


class GuardedModel:
    """A ``ChatModel`` each of whose requests, from its sending to the end of its answer, passes within a
    guard of its own.

    A guard that lets nobody through raises a ``ModelError`` as it is entered; it sees the request's failure,
    or its cancellation, as it is left.
    """

    def __init__(self, model: ChatModel, guard: Guard) -> None:
        self._model = model
        self._guard = guard

    async def stream(
        self,
        messages: Sequence[ModelMessage],
        *,
        tools: Sequence[ToolSchema] = (),
        settings: ModelSettings,
    ) -> AsyncGenerator[ModelChunk, None]:
        async with (
            self._guard(),
            aclosing(self._model.stream(messages, tools=tools, settings=settings)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk


class GuardedEmbeddings:
    """An ``EmbeddingModel`` each of whose requests passes within a guard, as those of ``GuardedModel``."""

    def __init__(self, model: EmbeddingModel, guard: Guard) -> None:
        self._model = model
        self._guard = guard

    async def embed(
        self, inputs: EmbeddingInputs, *, dimensions: int | None = None, exact: bool = False
    ) -> Embeddings:
        async with self._guard():
            return await self._model.embed(inputs, dimensions=dimensions, exact=exact)
