"""Asking a model for a word, to see whether its profile is right."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from somaagent.agent.messages import ModelMessage
from somaagent.agent.ports import ModelSettings, TextChunk
from somaagent.errors import Kind, SomaError

from . import reach

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile

PATIENCE_SECONDS = 30.0
QUESTION = [ModelMessage("user", "Say hello.")]
# One is what is needed; a few servers refuse so small a number.
FEW_TOKENS = 16


async def try_model(profile: ModelProfile) -> str:
    """A sentence on how the model answered. Raises ``SomaError`` with what is wrong where it did not."""
    begun = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            word = await (_vector(profile) if profile.gives_embeddings else _first_word(profile))
    except TimeoutError as error:
        raise SomaError(
            Kind.UPSTREAM,
            "model_timeout",
            f"Nothing came in {PATIENCE_SECONDS:.0f} s. Is it still loading, or the wrong address?",
        ) from error
    if profile.gives_embeddings:
        return f"{word} It took {time.monotonic() - begun:.1f} s."
    said = f"“{word.strip()}”" if word.strip() else "with no text, but without an error"
    return f"It answered {said} after {time.monotonic() - begun:.1f} s."


async def _vector(profile: ModelProfile) -> str:
    given = await (await reach.open_embeddings(profile)).embed([QUESTION[0].text])
    return f"It gives vectors of {len(given.vectors[0])} numbers."


async def _first_word(profile: ModelProfile) -> str:
    model = await reach.open_model(profile)
    async with aclosing(
        model.stream(QUESTION, settings=ModelSettings(max_output_tokens=FEW_TOKENS))
    ) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, TextChunk):
                return chunk.text
    return ""
