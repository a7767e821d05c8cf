"""A model that another one stands in for when it fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from somaagent.agent.failures import ModelError, failure
from somaagent.agent.messages import ModelMessage
from somaagent.agent.ports import ChatModel, FinishChunk, ModelChunk, ModelSettings, ToolSchema
from somaagent.agent.prices import Prices, priced


def _as_they_are(settings: ModelSettings) -> ModelSettings:
    return settings


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model by the name of its profile. It is opened when its turn comes: most never are.

    ``within`` makes its own settings of those that the caller asks with. ``prices`` are what its answers
    cost.
    """

    name: str
    open: Callable[[], Awaitable[ChatModel]]
    within: Callable[[ModelSettings], ModelSettings] = _as_they_are
    prices: Prices = Prices()  # noqa: RUF009 - frozen


class FallbackModel:
    """A ``ChatModel`` that asks its candidates in turn, until one begins to answer.

    The last chunk says who answered, and at which cost. Whoever began has to finish: what fails after that
    is raised as it is. When all fail, the failure has the code of the last, and names it. ``on_failure`` is
    told which candidate failed, how, and which is asked next (``None`` after the last).
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        on_failure: Callable[[Candidate, ModelError, Candidate | None], None],
    ) -> None:
        self._candidates = candidates
        self._on_failure = on_failure

    async def stream(
        self,
        messages: Sequence[ModelMessage],
        *,
        tools: Sequence[ToolSchema] = (),
        settings: ModelSettings,
    ) -> AsyncGenerator[ModelChunk, None]:
        following: list[Candidate | None] = [*self._candidates[1:], None]
        for candidate, after in zip(self._candidates, following, strict=True):
            begun = False
            try:
                model = await candidate.open()
                stream = model.stream(messages, tools=tools, settings=candidate.within(settings))
                async with aclosing(stream) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield _signed(chunk, candidate)
            except ModelError as error:
                over = begun or error.begun
                self._on_failure(candidate, error, None if over else after)
                if over or len(self._candidates) == 1:
                    raise
                if after is None:
                    raise self._none_answers(candidate, error) from error
            else:
                return

    def _none_answers(self, last: Candidate, error: ModelError) -> ModelError:
        return failure(
            error.code,
            f"None of {len(self._candidates)} models answers. The last one, {last.name}: {error.message}",
            retry_after=error.retry_after,
        )


def _signed(chunk: ModelChunk, candidate: Candidate) -> ModelChunk:
    if not isinstance(chunk, FinishChunk):
        return chunk
    return replace(chunk, profile=candidate.name, usage=priced(chunk.usage, candidate.prices))
