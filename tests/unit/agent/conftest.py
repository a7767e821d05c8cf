"""A scripted model server, and a model that is reached through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from somaagent.agent.messages import ModelMessage
from somaagent.agent.models.adapter import Adapter
from somaagent.agent.models.anthropic import Anthropic
from somaagent.agent.models.connection import Timeouts
from somaagent.agent.models.openai_compatible import OpenAICompatible
from somaagent.agent.models.session import open_session
from somaagent.agent.ports import FinishChunk, ModelChunk, ModelSettings, TextChunk
from tests import model_server

KEY = "sk-model-1234567890"
QUICK = Timeouts(connect=2, first_token=5, idle=5)


@dataclass
class Bench:
    """A model server, the session to it, and ways to ask it."""

    url: str
    session: aiohttp.ClientSession

    adapter: type[Adapter] = OpenAICompatible

    def model(self, **changes: Any) -> Adapter:
        chosen: dict[str, Any] = {
            "base_url": self.url if self.adapter is Anthropic else f"{self.url}/v1",
            "model": "scripted",
            "api_key": KEY,
            "session": self.session,
            "timeouts": QUICK,
        }
        return self.adapter(**(chosen | changes))

    async def ask(self, told: str, **changes: Any) -> list[ModelChunk]:
        stream = self.model(**changes).stream([ModelMessage("user", told)], settings=ModelSettings())
        return [chunk async for chunk in stream]

    async def requests(self) -> list[dict[str, Any]]:
        async with self.session.get(f"{self.url}/_requests") as response:
            requests: list[dict[str, Any]] = (await response.json())["requests"]
            return requests

    async def seen(self, state: str) -> None:
        """Waits until the last request is in this state: ``open``, ``answered`` or ``disconnected``."""
        for _ in range(200):
            requests = await self.requests()
            if requests and requests[-1]["state"] == state:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"the last request was never {state}: {requests}")

    async def script(self, *steps: str) -> None:
        async with self.session.post(f"{self.url}/_script", json=steps) as response:
            assert response.status == 200


def text_of(chunks: list[ModelChunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, TextChunk))


def finish_of(chunks: list[ModelChunk]) -> FinishChunk:
    last = chunks[-1]
    assert isinstance(last, FinishChunk)
    return last


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with model_server.serve(KEY) as url, open_session() as session:
        yield Bench(url, session)


@pytest.fixture
def embedded(tmp_path) -> Iterator[str]:
    """The local model in a process of its own."""
    from tests.local_model import serving  # noqa: PLC0415 - it needs the embedded servers' wheels

    with serving(tmp_path, "sk-local") as url:
        yield url


def says(text: str) -> list[ModelMessage]:
    return [ModelMessage("system", "Be brief."), ModelMessage("user", text)]
