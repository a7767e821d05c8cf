"""A model that is asked again when its server is busy, failing or away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from somaagent.agent.failures import ModelError
from somaagent.agent.messages import ModelMessage
from somaagent.agent.ports import ChatModel, ModelChunk, ModelSettings, ToolSchema


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``retries`` after the first request; no wait before one is longer than ``longest_wait`` seconds.

    The n-th wait is a random time up to ``first_wait`` · 2ⁿ⁻¹ seconds, so that many who failed together
    do not come back together.
    """

    retries: int
    longest_wait: float
    first_wait: float = 0.5

    def wait(self, retry: int, retry_after: float | None) -> float | None:
        """Seconds before the ``retry``-th retry (from 1); ``None`` when there is to be none."""
        if retry > self.retries:
            return None
        jitter = random.uniform(0, min(self.first_wait * 2 ** (retry - 1), self.longest_wait))  # noqa: S311 - it spreads load and guards nothing
        if retry_after is None:
            return jitter
        if retry_after > self.longest_wait:
            return None
        return min(retry_after + jitter, self.longest_wait)


class RetryingModel:
    """A ``ChatModel`` that sends the same request again while nothing of an answer has come.

    Raises what the last request raised. A server that wants more time than the policy allows is not asked
    again. ``on_retry`` is told of each failure that is tried again, and after how many seconds.
    """

    def __init__(
        self, model: ChatModel, policy: RetryPolicy, *, on_retry: Callable[[ModelError, float], None]
    ) -> None:
        self._model = model
        self._policy = policy
        self._on_retry = on_retry

    async def stream(
        self,
        messages: Sequence[ModelMessage],
        *,
        tools: Sequence[ToolSchema] = (),
        settings: ModelSettings,
    ) -> AsyncGenerator[ModelChunk, None]:
        retry = 0
        while True:
            begun = False
            try:
                async with aclosing(self._model.stream(messages, tools=tools, settings=settings)) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield chunk
            except ModelError as error:
                retry += 1
                wait = self._wait(error, retry, begun=begun)
                if wait is None:
                    raise
                self._on_retry(error, wait)
            else:
                return
            await asyncio.sleep(wait)

    def _wait(self, error: ModelError, retry: int, *, begun: bool) -> float | None:
        if begun or error.begun or not error.ask_again:
            return None
        return self._policy.wait(retry, error.retry_after)
