"""Models of providers with a protocol of their own (Gemini, Mistral, Groq …), through pydantic-ai's direct
requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING

from somaagent.agent import failures
from somaagent.agent.messages import ModelMessage
from somaagent.agent.models.connection import Timeouts
from somaagent.agent.models.providers import Reach, UnknownProvider, provider_of
from somaagent.agent.ports import ModelChunk, ModelSettings, ToolSchema

if TYPE_CHECKING:
    from pydantic_ai.models import Model


class PydanticAI:
    """A ``ChatModel``. ``model`` is ``provider:name``; an empty ``base_url`` is the provider's own.

    ``api_key`` goes into the request and nowhere else. Raises ``ModelError`` with a code of
    ``somaagent.agent.failures``.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str | None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        try:
            self._provider, name = provider_of(model)
        except UnknownProvider as error:
            raise failures.failure(
                "model_not_found", f"{error} An operator has to correct the profile."
            ) from error
        if not api_key:
            raise failures.failure(
                "model_secret_missing",
                f"{self._provider.title} asks for a key, and the model profile names no secret.",
            )
        self._model = model
        self._reach = Reach(name, base_url or self._provider.address, api_key, timeouts.connect)
        self._timeouts = timeouts

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self._model!r})"

    async def stream(
        self,
        messages: Sequence[ModelMessage],
        *,
        tools: Sequence[ToolSchema] = (),
        settings: ModelSettings,
    ) -> AsyncGenerator[ModelChunk, None]:
        """Asks and streams the answer. Closing ends the request."""
        begun = False
        async with AsyncExitStack() as stack:
            model = await asyncio.to_thread(self._open, stack)
            try:
                async with aclosing(self._events(model, messages, tools, settings)) as chunks:
                    while (chunk := await self._next(chunks, begun=begun)) is not None:
                        begun = True
                        yield chunk
            except failures.ModelError as error:
                error.begun = begun
                raise

    def _open(self, stack: AsyncExitStack) -> Model:
        """Run in a thread: the first of a process imports for seconds."""
        from somaagent.agent.models import pydantic_ai_shapes  # noqa: F401, PLC0415 - it takes seconds

        try:
            return self._provider.make(self._reach, stack)
        except ImportError as error:
            raise failures.failure(
                "model_not_found",
                f"{self._provider.title} needs the package {self._provider.package}, which is not installed "
                f"here. An operator installs it, or chooses another profile.",
            ) from error

    async def _next(self, chunks: AsyncGenerator[ModelChunk, None], *, begun: bool) -> ModelChunk | None:
        """The next chunk in time; ``None`` after the last."""
        patience = self._timeouts.idle if begun else self._timeouts.first_token
        try:
            async with asyncio.timeout(patience):
                return await anext(chunks)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            said = "The model server stopped writing."
            if not begun:
                said = f"The model wrote nothing for {patience:g} seconds."
            raise failures.timed_out(said) from None

    async def _events(
        self,
        model: Model,
        messages: Sequence[ModelMessage],
        tools: Sequence[ToolSchema],
        settings: ModelSettings,
    ) -> AsyncGenerator[ModelChunk, None]:
        from pydantic_ai.direct import model_request_stream  # noqa: PLC0415 - imported by _open already

        from somaagent.agent.models import pydantic_ai_failures, pydantic_ai_shapes  # noqa: PLC0415 - as above

        conversation = pydantic_ai_shapes.conversation_of(messages, self._provider, self._model)
        wished = pydantic_ai_shapes.settings_of(model, settings, tools)
        parameters = pydantic_ai_shapes.parameters_of(tools, settings)
        with pydantic_ai_failures.told(self._model, self._reach.api_key):
            request = model_request_stream(
                model,
                conversation,
                model_settings=wished,
                model_request_parameters=parameters,
                instrument=False,
            )
            async with request as answer:
                async for event in answer:
                    for chunk in pydantic_ai_shapes.chunks_of(event):
                        yield chunk
                for chunk in pydantic_ai_shapes.ending_of(answer.get(), self._model):
                    yield chunk
