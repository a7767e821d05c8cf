"""A model behind a guard: a circuit breaker, a rate limit, or whatever lets requests through or not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

from somaagent.agent.messages import ModelMessage
from somaagent.agent.ports import ChatModel, ModelChunk, ModelSettings, ToolSchema


class GuardedModel:
    """A ``ChatModel`` each of whose requests, from its sending to the end of its answer, passes within a
    guard of its own.

    A guard that lets nobody through raises a ``ModelError`` as it is entered; it sees the request's failure,
    or its cancellation, as it is left.
    """

    def __init__(self, model: ChatModel, guard: Callable[[], AbstractAsyncContextManager[None]]) -> None:
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
