"""Clients that ask for an answer, read it to its end, and check it word by word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson

from tests.load.model import text_of

_AGAIN_SECONDS = 0.05
_BREATH_SECONDS = 30.0
_NO_LIMIT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)


class Wrong(Exception):  # noqa: N818 - it says what an answer is
    """An answer that is not what was scripted. It ends the run."""


class Refused(Exception):  # noqa: N818 - it says what became of a request
    """An answer 503: the server says that it cannot now. It is counted, and its client asks again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: which text was asked for, seconds to its first text, and the turn where there is one."""

    number: int
    first: float
    turn_id: str = ""


Ask = Callable[[int], Awaitable[Answer]]


@dataclass
class Round:
    """What a number of clients did in a while, each asking again as soon as it was answered."""

    clients: int
    seconds: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def a_second(self) -> float:
        return len(self.answers) / self.seconds

    def first_ms(self, share: float) -> float:
        """The quantile of the time to the first text, in milliseconds."""
        times = sorted(answer.first for answer in self.answers)
        return times[min(int(len(times) * share), len(times) - 1)] * 1000

    def cpu_ms(self, *parts: str) -> float:
        """Milliseconds of processor time an answer, of these parts together."""
        return sum(self.cpu.get(part, 0.0) for part in parts) * 1000 / len(self.answers)


@dataclass(frozen=True)
class Caller:
    """Somebody with connections of their own to the model server and to the gateway."""

    http: aiohttp.ClientSession
    model_url: str
    url: str

    async def model(self, number: int) -> Answer:
        """The model server alone, asked as SomaAgent asks it."""
        body = {
            "model": "lean",
            "messages": [{"role": "user", "content": f"answer {number}"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        first, said = await self._read(f"{self.model_url}/v1/chat/completions", body, b'"content"')
        lines = [line[6:] for line in said.split(b"\n\n") if line.startswith(b"data: {")]
        chunks = [choice for line in lines for choice in orjson.loads(line)["choices"]]
        _expect(number, "".join(chunk["delta"].get("content", "") for chunk in chunks))
        return Answer(number, first)

    async def turn(self, number: int) -> Answer:
        """A turn in a new session, its events streamed in the answer."""
        body = {"input": f"answer {number}", "stream": True}
        first, said = await self._read(f"{self.url}/api/v1/turns", body, b"event: text.delta")
        events = events_in(said)
        if [event[0] for event in events] != list(range(1, len(events) + 1)):
            raise Wrong(f"events that are not numbered 1, 2, 3 …: {said[:500]!r}")
        if events[-1][1] != "turn.completed":
            raise Wrong(f"a turn that ended so: {events[-1]}")
        _expect(number, "".join(facts["text"] for _, name, facts in events if name == "text.delta"))
        _expect(number, events[-1][2]["text"])
        return Answer(number, first, events[0][2]["turn_id"])

    async def read(self, number: int) -> Answer:
        """The first page of the caller's sessions."""
        begun = time.perf_counter()
        page = await self.json("/sessions?limit=20")
        if not page["items"]:
            raise Wrong(f"a page without sessions: {page}")
        return Answer(number, time.perf_counter() - begun)

    async def json(self, path: str) -> dict[str, Any]:
        async with self.http.get(f"{self.url}/api/v1{path}") as response:
            await expect_ok(response)
            found: dict[str, Any] = orjson.loads(await response.read())
            return found

    async def kept(self, path: str) -> dict[str, Any]:
        """``json`` for looking afterwards: asks again while the server still gets its breath back."""
        until = time.perf_counter() + _BREATH_SECONDS
        while True:
            try:
                return await self.json(path)
            except Refused:
                if time.perf_counter() > until:
                    raise
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _read(self, url: str, body: dict[str, Any], mark: bytes) -> tuple[float, bytes]:
        """Seconds until ``mark`` came, and all that came."""
        begun = time.perf_counter()
        first = 0.0
        pieces: list[bytes] = []
        async with self.http.post(url, data=orjson.dumps(body)) as response:
            await expect_ok(response)
            async for piece in response.content.iter_any():
                pieces.append(piece)
                if not first and mark in piece:
                    first = time.perf_counter() - begun
        if not first:
            raise Wrong(f"an answer without text: {b''.join(pieces)[:500]!r}")
        return first, b"".join(pieces)


def events_in(said: bytes) -> list[tuple[int, str, dict[str, Any]]]:
    """Number, name and facts of each server-sent event; comments are passed over."""
    found = []
    for block in said.split(b"\n\n"):
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if line and line[0] != 58)
        if fields:
            found.append((int(fields[b"id"]), fields[b"event"].decode(), orjson.loads(fields[b"data"])))
    return found


async def expect_ok(response: aiohttp.ClientResponse, status: HTTPStatus = HTTPStatus.OK) -> None:
    if response.status == status:
        return
    said = f"{response.url.path} is answered {response.status}: {await response.text()}"
    if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise Refused(said)
    raise Wrong(said)


def _expect(number: int, text: str) -> None:
    if text != text_of(number):
        raise Wrong(f"{text!r} in answer to {number}")


@asynccontextmanager
async def caller(model_url: str, url: str, api_key: str) -> AsyncIterator[Caller]:
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    # Shorter than the gateway keeps a silent connection: a POST is not sent again by itself.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=_NO_LIMIT) as http:
        yield Caller(http, model_url, url)


async def ask_for(ask: Ask, clients: int, seconds: float) -> Round:
    """Each client asks, one answer after the other, until the time is over; each at least once."""
    found = Round(clients)
    begun = time.perf_counter()

    async def client(number: int) -> None:
        answered = False
        while not answered or time.perf_counter() < begun + seconds:
            try:
                found.answers.append(await ask(number))
                answered = True
            except Refused as refused:
                found.refused.append(str(refused))
                await asyncio.sleep(_AGAIN_SECONDS)
            number += clients

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
    found.seconds = time.perf_counter() - begun
    return found
